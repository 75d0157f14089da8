-- oldest client: 1
-- Runs, their logs, leases, rate budgets, answers, workers, and the journal of the schedules.
--
-- Rules of all functions:
-- * The clock is the clock of the database: clock_timestamp(), never the start of the transaction.
-- * A fence is an epoch and a lease id. Whoever writes names both; after another take the fence is no longer valid.
-- * Timestamps are never infinite: interval arithmetic with infinite timestamps raises.
-- * Rows of several runs are locked in the order of their ids, so that two writers never wait for each other.

CREATE TABLE meta (
  one boolean PRIMARY KEY DEFAULT true CHECK (one),
  schema_version int NOT NULL,
  oldest_client int NOT NULL
);
CREATE TABLE migrations (
  version int PRIMARY KEY,
  name text NOT NULL,
  db_user name NOT NULL DEFAULT session_user,
  applied_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- Budgets. API keys stay on the workers. `tat` is the theoretical arrival time of GCRA.
CREATE TABLE workspaces (
  name text PRIMARY KEY,
  rate float8 NOT NULL CHECK (rate > 0 AND rate < 'infinity'),
  burst int NOT NULL CHECK (burst > 0),
  set_by text,                             -- who set rate and burst explicitly; NULL for defaults
  tat timestamptz NOT NULL DEFAULT 'epoch' CHECK (isfinite(tat)),
  paused_until timestamptz NOT NULL DEFAULT 'epoch' CHECK (isfinite(paused_until)),
  api_profile jsonb NOT NULL DEFAULT '{}'
) WITH (fillfactor = 50);

-- No index on a column that append_records or renew_leases changes, so that updates stay in their page (HOT).
CREATE TABLE runs (
  run_id text PRIMARY KEY,
  workspace text NOT NULL REFERENCES workspaces,
  playbook text NOT NULL,
  planned timestamptz,                     -- the time of a firing; NULL where a person or CI submitted the run
  spec jsonb NOT NULL,
  format int NOT NULL,                     -- an older worker leaves a run of a later format alone
  priority int NOT NULL DEFAULT 0,
  state text NOT NULL DEFAULT 'ready' CHECK (state IN ('planning', 'planned', 'ready', 'finished', 'left', 'void')),
  adopt boolean NOT NULL DEFAULT true,     -- whether a worker may continue the run after the first holder
  epoch bigint NOT NULL DEFAULT 0,
  lease_id uuid,
  holder text,
  lease_until timestamptz CHECK (isfinite(lease_until)),
  not_before timestamptz NOT NULL DEFAULT 'epoch' CHECK (isfinite(not_before)),
  takes_without_progress int NOT NULL DEFAULT 0,
  seq bigint NOT NULL DEFAULT 0,
  head text NOT NULL DEFAULT repeat('0', 64),
  stop_wanted text CHECK (stop_wanted IN ('gracefully', 'at_once')),
  stop_by text,
  exit_code int,
  reason text,
  submitted_by text NOT NULL,
  db_user name NOT NULL DEFAULT session_user,
  submitted_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  finished_at timestamptz,
  UNIQUE (playbook, planned, workspace)
) WITH (fillfactor = 50);
CREATE INDEX runs_unfinished ON runs (run_id) WHERE finished_at IS NULL;

-- The exact bytes of the lines of a log, with their newlines.
CREATE TABLE records (
  run_id text REFERENCES runs,
  seq bigint CHECK (seq > 0),
  epoch bigint NOT NULL,
  event text NOT NULL,
  line bytea NOT NULL CHECK (octet_length(line) > 0),
  PRIMARY KEY (run_id, seq)
);

-- One unsigned answer for each question: the first answer counts.
CREATE TABLE answers (
  run_id text REFERENCES runs,
  question text,                           -- hash of the asking record
  seq bigint NOT NULL,
  step text NOT NULL,
  approved boolean NOT NULL,
  answered_by text NOT NULL,               -- as the person's machine says; db_user is attested by the database
  comment json,                            -- a string; JSON also has text that PostgreSQL has not
  db_user name NOT NULL DEFAULT session_user,
  at timestamptz NOT NULL DEFAULT clock_timestamp(),
  PRIMARY KEY (run_id, question)
);
-- Signed answers of several people to one question: one for each key.
CREATE TABLE signed_answers (
  run_id text REFERENCES runs,
  question text,
  key_name text,
  seq bigint NOT NULL,
  approved boolean NOT NULL,
  signature text NOT NULL,
  expires_at timestamptz NOT NULL CHECK (isfinite(expires_at)),
  answered_by text NOT NULL,
  comment text,
  db_user name NOT NULL DEFAULT session_user,
  at timestamptz NOT NULL DEFAULT clock_timestamp(),
  PRIMARY KEY (run_id, question, key_name)
);

CREATE TABLE leases (                      -- of duties with one holder, such as the schedules
  name text PRIMARY KEY,
  epoch bigint NOT NULL,
  lease_id uuid,
  holder text,
  lease_until timestamptz CHECK (isfinite(lease_until))
);
CREATE TABLE journal (
  seq bigint PRIMARY KEY CHECK (seq > 0),
  epoch bigint NOT NULL,
  line jsonb NOT NULL,
  at timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE TABLE workers (
  holder text PRIMARY KEY,
  version text NOT NULL,
  format int NOT NULL,
  workspaces text[] NOT NULL,
  db_user name NOT NULL,
  seen_at timestamptz NOT NULL
);

CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  RAISE EXCEPTION 'table % is append-only: % is refused', TG_TABLE_NAME, TG_OP USING ERRCODE = 'insufficient_privilege';
END $$;
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON records EXECUTE FUNCTION refuse_change();
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON journal EXECUTE FUNCTION refuse_change();

CREATE FUNCTION read_version(OUT schema_version int, OUT oldest_client int)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  SELECT m.schema_version, m.oldest_client FROM orchestrator.meta m
$$;

-- Budget ----------------------------------------------------------------------------------------------------------

-- Set the budget of a workspace; without p_is_explicit only where there is none. Returns the budget that holds, and the
-- budget before with its author.
CREATE FUNCTION set_budget(
  p_workspace text, p_rate float8, p_burst int, p_is_explicit boolean DEFAULT true, p_by text DEFAULT NULL,
  OUT rate float8, OUT burst int, OUT earlier_rate float8, OUT earlier_burst int, OUT earlier_by text
) LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  WITH earlier AS (SELECT w.rate, w.burst, w.set_by FROM orchestrator.workspaces w WHERE w.name = p_workspace),
  present AS (
    INSERT INTO orchestrator.workspaces AS w (name, rate, burst, set_by) VALUES (p_workspace, p_rate, p_burst, CASE WHEN p_is_explicit THEN p_by END)
      ON CONFLICT (name) DO UPDATE SET
        rate = CASE WHEN p_is_explicit THEN p_rate ELSE w.rate END,
        burst = CASE WHEN p_is_explicit THEN p_burst ELSE w.burst END,
        set_by = CASE WHEN p_is_explicit THEN p_by ELSE w.set_by END
      RETURNING w.rate, w.burst)
  SELECT present.rate, present.burst, earlier.rate, earlier.burst, earlier.set_by FROM present LEFT JOIN earlier ON true
$$;

-- Take the next turns of a workspace, in one row: the present time, the time of the first turn (the other turns follow at
-- distances of 1 / rate), both in seconds since the epoch, and the seconds left of a pause. A process without a run yet,
-- such as for the reads of a plan, has a p_run of NULL. For a run, no row after another take of the run.
-- A turn later than (burst - 1) / rate must be dropped: then no window of W seconds has more than burst + rate * W turns.
-- After an idle time the first turn would be so late at once; with p_ahead the turn is usable for that long.
CREATE FUNCTION take_turns(
  p_workspace text, p_run text, p_epoch bigint, p_lease_id uuid, p_turns int, p_ahead interval,
  OUT at float8, OUT first_turn float8, OUT rate float8, OUT burst int, OUT paused float8
) RETURNS SETOF record LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  UPDATE orchestrator.workspaces w
    SET tat = greatest(
        -- Never far in the future, whatever a process took, and after a failover to a server with an earlier clock.
        least(w.tat, greatest(w.paused_until, clock_timestamp()) + make_interval(secs => 600 + 100 / w.rate)),
        w.paused_until, clock_timestamp() + p_ahead) + make_interval(secs => p_turns / w.rate)
    WHERE p_turns BETWEEN 1 AND greatest(1000, 60 * w.rate) AND p_ahead <= interval '10 minutes' AND w.name = p_workspace
      AND (p_run IS NULL OR EXISTS (
        SELECT FROM orchestrator.runs r
          WHERE r.run_id = p_run AND r.epoch = p_epoch AND r.lease_id = p_lease_id AND r.workspace = p_workspace))
    RETURNING
      extract(epoch FROM clock_timestamp())::float8,
      extract(epoch FROM w.tat)::float8 - (p_turns + w.burst - 1) / w.rate, w.rate, w.burst,
      extract(epoch FROM greatest(w.paused_until - clock_timestamp(), interval '0'))::float8
$$;

-- Pause all runs of a workspace, as after a 429. A pause is never shortened. False after another take of the run.
CREATE FUNCTION pause_workspace(p_workspace text, p_run text, p_epoch bigint, p_lease_id uuid, p_pause interval) RETURNS boolean
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  WITH paused AS (
    UPDATE orchestrator.workspaces w SET paused_until = greatest(w.paused_until, clock_timestamp() + least(p_pause, interval '1 day'))
      WHERE w.name = p_workspace
        AND (p_run IS NULL OR EXISTS (
          SELECT FROM orchestrator.runs r
            WHERE r.run_id = p_run AND r.epoch = p_epoch AND r.lease_id = p_lease_id AND r.workspace = p_workspace))
      RETURNING 1)
  SELECT count(*) = 1 FROM paused
$$;

-- Limits and settle times of the API as learnt by runs; a cache.
CREATE FUNCTION read_api_profile(p_workspace text) RETURNS jsonb
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  SELECT w.api_profile FROM orchestrator.workspaces w WHERE w.name = p_workspace
$$;

CREATE FUNCTION write_api_profile(p_workspace text, p_profile jsonb) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  UPDATE orchestrator.workspaces w SET api_profile = p_profile WHERE w.name = p_workspace
$$;
GRANT EXECUTE ON FUNCTION read_api_profile TO orchestrator_viewer, orchestrator_operator, orchestrator_worker;
GRANT EXECUTE ON FUNCTION write_api_profile TO orchestrator_operator, orchestrator_worker;

-- Runs ------------------------------------------------------------------------------------------------------------

-- Submit a run; false if the run, or the firing of the playbook at this time, exists already.
CREATE FUNCTION submit_run(
  p_run text, p_workspace text, p_playbook text, p_planned timestamptz, p_spec jsonb, p_format int, p_priority int,
  p_state text, p_adopt boolean, p_by text
) RETURNS boolean LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  WITH submitted AS (
    INSERT INTO orchestrator.runs (run_id, workspace, playbook, planned, spec, format, priority, state, adopt, submitted_by)
      VALUES (p_run, p_workspace, p_playbook, p_planned, p_spec, p_format, p_priority,
        CASE WHEN p_state IN ('planning', 'ready') THEN p_state END, p_adopt, p_by)  -- another state raises
      ON CONFLICT DO NOTHING RETURNING 1)
  SELECT count(*) = 1 FROM submitted
$$;

-- Submit a run and take the run in the same moment, for the process of a person. No worker continues the run by itself.
-- A row also for a second call with the same lease id, after a lost answer; no row for an id that exists.
CREATE FUNCTION begin_run(
  p_run text, p_workspace text, p_playbook text, p_spec jsonb, p_format int, p_by text, p_lease_id uuid, p_holder text, p_lease interval,
  OUT epoch bigint
) RETURNS SETOF bigint LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  INSERT INTO orchestrator.runs AS r (run_id, workspace, playbook, spec, format, adopt, epoch, lease_id, holder, lease_until, submitted_by)
    VALUES (p_run, p_workspace, p_playbook, p_spec, p_format, false, 1, p_lease_id, p_holder, clock_timestamp() + p_lease, p_by)
    ON CONFLICT (run_id) DO UPDATE SET lease_until = clock_timestamp() + p_lease WHERE r.lease_id = p_lease_id AND r.seq = 0
    RETURNING r.epoch
$$;

-- Take a run for a worker. The fifth take without a record is the last: then the run is left for a person.
CREATE FUNCTION take_run(
  p_run text, p_lease_id uuid, p_holder text, p_lease interval, p_format int,
  OUT epoch bigint, OUT workspace text, OUT spec jsonb, OUT state text, OUT seq bigint, OUT stop_wanted text
) RETURNS SETOF record LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  WITH given_up AS (
    UPDATE orchestrator.runs r SET state = 'left', reason = 'taken 5 times without a record', lease_id = NULL, holder = NULL, lease_until = NULL
      WHERE r.run_id = p_run AND r.state IN ('planning', 'ready') AND r.takes_without_progress >= 5
        AND (r.lease_until IS NULL OR r.lease_until < clock_timestamp()))
  UPDATE orchestrator.runs r SET epoch = r.epoch + 1, lease_id = p_lease_id, holder = p_holder,
      lease_until = clock_timestamp() + p_lease, takes_without_progress = r.takes_without_progress + 1
    WHERE r.run_id = p_run AND r.state IN ('planning', 'ready') AND r.takes_without_progress < 5
      AND (r.adopt OR r.epoch = 0) AND r.format <= p_format AND r.not_before <= clock_timestamp()
      AND (r.lease_until IS NULL OR r.lease_until < clock_timestamp())
    RETURNING r.epoch, r.workspace, r.spec, r.state, r.seq, r.stop_wanted
$$;

-- Take a run for a person: also a run of another person, a run left after five takes, and a run that waits.
-- From then on no worker continues the run by itself.
CREATE FUNCTION take_run_for_person(
  p_run text, p_lease_id uuid, p_holder text, p_lease interval, p_format int,
  OUT epoch bigint, OUT workspace text, OUT spec jsonb, OUT state text, OUT seq bigint, OUT stop_wanted text
) RETURNS SETOF record LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  UPDATE orchestrator.runs r SET epoch = r.epoch + 1, lease_id = p_lease_id, holder = p_holder, adopt = false,
      lease_until = clock_timestamp() + p_lease, takes_without_progress = 0, not_before = 'epoch',
      state = CASE WHEN r.state = 'left' THEN 'ready' ELSE r.state END
    WHERE r.run_id = p_run AND r.state IN ('planning', 'planned', 'ready', 'left') AND r.format <= p_format
      AND (r.lease_until IS NULL OR r.lease_until < clock_timestamp())
    RETURNING r.epoch, r.workspace, r.spec, r.state, r.seq, r.stop_wanted
$$;

-- Take a finished run for records about the run, such as a seal or the charges. The state stays.
CREATE FUNCTION take_finished_run(p_run text, p_lease_id uuid, p_holder text, p_lease interval, p_format int, OUT epoch bigint, OUT seq bigint)
RETURNS SETOF record LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  UPDATE orchestrator.runs r SET epoch = r.epoch + 1, lease_id = p_lease_id, holder = p_holder, lease_until = clock_timestamp() + p_lease
    WHERE r.run_id = p_run AND r.finished_at IS NOT NULL AND r.format <= p_format
      AND (r.lease_until IS NULL OR r.lease_until < clock_timestamp())
    RETURNING r.epoch, r.seq
$$;

-- Append the batches of several runs in one commit, and renew their leases. For each run:
--   ok       the batch is committed;
--   already  the batch was committed before, and the answer was lost;
--   fenced   another take has ended the lease: write nothing, send nothing;
--   lost     the log has another end than the holder knows, such as after a failover.
CREATE FUNCTION append_records(
  p_lease interval, p_run text[], p_epoch bigint[], p_lease_id uuid[], p_seq bigint[], p_head text[], p_last bigint[], p_new_head text[],
  r_run text[], r_seq bigint[], r_event text[], r_line bytea[],
  OUT run_id text, OUT verdict text, OUT stop_wanted text
) RETURNS SETOF record LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
BEGIN
  -- Wait for a commit in progress, such as my own commit over a broken connection; the next statement sees its result.
  PERFORM 1 FROM orchestrator.runs r WHERE r.run_id = ANY (p_run) ORDER BY r.run_id FOR NO KEY UPDATE;
  RETURN QUERY
  WITH batch AS (
    SELECT * FROM unnest(p_run, p_epoch, p_lease_id, p_seq, p_head, p_last, p_new_head) AS b(run_id, epoch, lease_id, seq, head, last, new_head)),
  held AS (
    UPDATE orchestrator.runs r SET seq = b.last, head = b.new_head, lease_until = clock_timestamp() + p_lease, takes_without_progress = 0
      FROM batch b
      WHERE r.run_id = b.run_id AND r.epoch = b.epoch AND r.lease_id = b.lease_id AND r.seq = b.seq AND r.head = b.head
      RETURNING r.run_id, r.epoch, r.stop_wanted),
  added AS (
    INSERT INTO orchestrator.records (run_id, seq, epoch, event, line)
      SELECT x.run_id, x.seq, h.epoch, x.event, x.line
        FROM unnest(r_run, r_seq, r_event, r_line) AS x(run_id, seq, event, line) JOIN held h USING (run_id))
  SELECT b.run_id,
      CASE
        WHEN h.run_id IS NOT NULL THEN 'ok'
        WHEN r.epoch IS DISTINCT FROM b.epoch OR r.lease_id IS DISTINCT FROM b.lease_id THEN 'fenced'
        WHEN r.seq = b.last AND r.head = b.new_head THEN 'already'
        ELSE 'lost'
      END,
      r.stop_wanted
    FROM batch b LEFT JOIN held h USING (run_id) LEFT JOIN orchestrator.runs r ON r.run_id = b.run_id;
END $$;

-- Renew the leases of several runs; a row for each run still held.
CREATE FUNCTION renew_leases(p_lease interval, p_run text[], p_epoch bigint[], p_lease_id uuid[], OUT run_id text, OUT stop_wanted text)
RETURNS SETOF record LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  WITH held AS MATERIALIZED (
    SELECT r.run_id FROM orchestrator.runs r
      JOIN unnest(p_run, p_epoch, p_lease_id) AS f(run_id, epoch, lease_id) USING (run_id, epoch, lease_id)
      ORDER BY r.run_id FOR NO KEY UPDATE OF r)
  UPDATE orchestrator.runs r SET lease_until = clock_timestamp() + p_lease FROM held
    WHERE r.run_id = held.run_id RETURNING r.run_id, r.stop_wanted
$$;

-- End a lease, and set what the run is from then on; a state of NULL keeps the state. A take that ends so with a wait, such
-- as for a slow database, does not count as a take without a record. False after another take.
CREATE FUNCTION let_go_run(p_run text, p_epoch bigint, p_lease_id uuid, p_state text, p_exit_code int, p_reason text, p_wait interval)
RETURNS boolean LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  WITH freed AS (
    UPDATE orchestrator.runs r SET lease_id = NULL, holder = NULL, lease_until = NULL,
        not_before = clock_timestamp() + coalesce(p_wait, interval '0'), state = coalesce(p_state, r.state),
        takes_without_progress = CASE
          WHEN p_state IS NULL AND p_wait > interval '0' THEN greatest(r.takes_without_progress - 1, 0)
          ELSE r.takes_without_progress END,
        exit_code = coalesce(p_exit_code, r.exit_code), reason = coalesce(p_reason, r.reason),
        finished_at = CASE WHEN p_state IN ('finished', 'void') THEN coalesce(r.finished_at, clock_timestamp()) ELSE r.finished_at END
      WHERE r.run_id = p_run AND r.epoch = p_epoch AND r.lease_id = p_lease_id
        AND (r.finished_at IS NULL OR p_state IS NULL) RETURNING 1)
  SELECT count(*) = 1 FROM freed
$$;

-- List the unfinished runs without a lease that a worker with these keys may take.
CREATE FUNCTION list_free_runs(p_workspaces text[], p_format int, OUT run_id text, OUT workspace text, OUT priority int)
RETURNS SETOF record LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  SELECT r.run_id, r.workspace, r.priority FROM orchestrator.runs r
    WHERE r.finished_at IS NULL AND r.state IN ('planning', 'ready') AND r.workspace = ANY (p_workspaces)
      AND (r.adopt OR r.epoch = 0) AND r.format <= p_format AND r.not_before <= clock_timestamp()
      AND (r.lease_until IS NULL OR r.lease_until < clock_timestamp())
    ORDER BY r.priority DESC, r.run_id
$$;

-- Read records after a record, at most p_most.
CREATE FUNCTION read_records(p_run text, p_after bigint, p_most int DEFAULT NULL, OUT seq bigint, OUT line bytea)
RETURNS SETOF record LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  SELECT r.seq, r.line FROM orchestrator.records r WHERE r.run_id = p_run AND r.seq > p_after ORDER BY r.seq LIMIT p_most
$$;

-- Read the ends of the logs, of all runs or of one run: number and hash of the last record, and the holder
-- with the seconds left of the lease.
CREATE FUNCTION read_runs(
  p_run text DEFAULT NULL, OUT run_id text, OUT seq bigint, OUT head text, OUT state text, OUT format int, OUT holder text, OUT lease_left float8
) RETURNS SETOF record LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  SELECT r.run_id, r.seq, r.head, r.state, r.format, r.holder, extract(epoch FROM r.lease_until - clock_timestamp())::float8
    FROM orchestrator.runs r WHERE r.run_id = p_run OR p_run IS NULL ORDER BY r.run_id DESC
$$;

-- Compute SHA-256 over the lines of the first records of a log.
CREATE FUNCTION hash_records(p_run text, p_last bigint) RETURNS text
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  SELECT encode(sha256(coalesce(string_agg(r.line, ''::bytea ORDER BY r.seq), ''::bytea)), 'hex')
    FROM orchestrator.records r WHERE r.run_id = p_run AND r.seq <= p_last
$$;

-- Ask the holder of a run to end the run. At once wins over gracefully. False for a finished run.
CREATE FUNCTION cancel_run(p_run text, p_at_once boolean, p_by text) RETURNS boolean
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  WITH cancelled AS (
    UPDATE orchestrator.runs r SET stop_by = coalesce(r.stop_by, p_by), not_before = 'epoch',
        stop_wanted = CASE WHEN p_at_once OR r.stop_wanted = 'at_once' THEN 'at_once' ELSE 'gracefully' END
      WHERE r.run_id = p_run AND r.finished_at IS NULL RETURNING 1)
  SELECT count(*) = 1 FROM cancelled
$$;

-- Answers ---------------------------------------------------------------------------------------------------------

CREATE FUNCTION submit_answer(
  p_run text, p_question text, p_seq bigint, p_step text, p_approved boolean, p_by text, p_comment json
) RETURNS boolean LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  WITH added AS (
    INSERT INTO orchestrator.answers (run_id, question, seq, step, approved, answered_by, comment)
      VALUES (p_run, p_question, p_seq, p_step, p_approved, p_by, p_comment) ON CONFLICT DO NOTHING RETURNING 1)
  SELECT count(*) = 1 FROM added
$$;

-- Withdraw an answer of the same user of the database. An answer that the run has read stays on record.
CREATE FUNCTION withdraw_answer(p_run text, p_question text, p_approved boolean, p_by text) RETURNS boolean
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  WITH withdrawn AS (
    DELETE FROM orchestrator.answers a
      WHERE a.run_id = p_run AND a.question = p_question AND a.approved = p_approved AND a.answered_by = p_by
        AND a.db_user = session_user RETURNING 1)
  SELECT count(*) = 1 FROM withdrawn
$$;

CREATE FUNCTION submit_signed_answer(
  p_run text, p_question text, p_key_name text, p_seq bigint, p_approved boolean, p_signature text, p_expires_at timestamptz, p_by text, p_comment text)
RETURNS boolean LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  WITH added AS (
    INSERT INTO orchestrator.signed_answers (run_id, question, key_name, seq, approved, signature, expires_at, answered_by, comment)
      VALUES (p_run, p_question, p_key_name, p_seq, p_approved, p_signature, p_expires_at, p_by, p_comment) ON CONFLICT DO NOTHING RETURNING 1)
  SELECT count(*) = 1 FROM added
$$;

CREATE FUNCTION read_answers(p_run text, p_question text) RETURNS SETOF answers
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  SELECT * FROM orchestrator.answers a WHERE a.run_id = p_run AND a.question = p_question
$$;

CREATE FUNCTION read_signed_answers(p_run text, p_question text) RETURNS SETOF signed_answers
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  SELECT * FROM orchestrator.signed_answers a WHERE a.run_id = p_run AND a.question = p_question ORDER BY a.at, a.key_name
$$;

-- Duties with one holder, and the journal of the schedules ------------------------------------------------------------

-- Take a duty, or renew my own lease; the epoch is new after every take. No row while another holder has the duty.
CREATE FUNCTION take_duty(p_name text, p_lease_id uuid, p_holder text, p_lease interval, OUT epoch bigint)
RETURNS SETOF bigint LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  INSERT INTO orchestrator.leases AS l (name, epoch, lease_id, holder, lease_until)
    VALUES (p_name, 1, p_lease_id, p_holder, clock_timestamp() + p_lease)
    ON CONFLICT (name) DO UPDATE SET epoch = l.epoch + (l.lease_id IS DISTINCT FROM p_lease_id)::int,
        lease_id = p_lease_id, holder = p_holder, lease_until = clock_timestamp() + p_lease
      WHERE l.lease_id = p_lease_id OR l.lease_until IS NULL OR l.lease_until < clock_timestamp()
    RETURNING l.epoch
$$;

CREATE FUNCTION let_go_duty(p_name text, p_epoch bigint, p_lease_id uuid) RETURNS boolean
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  WITH freed AS (
    UPDATE orchestrator.leases l SET lease_id = NULL, holder = NULL, lease_until = NULL
      WHERE l.name = p_name AND l.epoch = p_epoch AND l.lease_id = p_lease_id RETURNING 1)
  SELECT count(*) = 1 FROM freed
$$;

-- Append a line to the journal under the fence of the duty `schedules`; false after another take.
-- A number that exists already raises: after a write of unknown outcome, step down and read the journal again.
CREATE FUNCTION append_journal(p_epoch bigint, p_lease_id uuid, p_seq bigint, p_line jsonb) RETURNS boolean
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  WITH held AS MATERIALIZED (
    SELECT l.epoch FROM orchestrator.leases l
      WHERE l.name = 'schedules' AND l.epoch = p_epoch AND l.lease_id = p_lease_id FOR UPDATE),
  added AS (
    INSERT INTO orchestrator.journal (seq, epoch, line) SELECT p_seq, held.epoch, p_line FROM held RETURNING 1)
  SELECT count(*) = 1 FROM added
$$;

CREATE FUNCTION read_journal(p_after bigint, OUT seq bigint, OUT line jsonb)
RETURNS SETOF record LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  SELECT j.seq, j.line FROM orchestrator.journal j WHERE j.seq > p_after ORDER BY j.seq
$$;

-- Note that a worker lives; returns the time of the database, in seconds since the epoch.
CREATE FUNCTION record_worker(p_holder text, p_version text, p_format int, p_workspaces text[]) RETURNS float8
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  INSERT INTO orchestrator.workers (holder, version, format, workspaces, db_user, seen_at)
    VALUES (p_holder, p_version, p_format, p_workspaces, session_user, clock_timestamp())
    ON CONFLICT (holder) DO UPDATE SET version = p_version, format = p_format, workspaces = p_workspaces,
      db_user = session_user, seen_at = clock_timestamp()
    RETURNING extract(epoch FROM clock_timestamp())::float8
$$;

-- Rights ----------------------------------------------------------------------------------------------------------
-- Viewers read tables. Workers call functions, and nothing else. Operators read, call the same functions (a person's own
-- run is carried out by the person's process), and decide: answers, cancelling, a person's take.

REVOKE ALL ON ALL FUNCTIONS IN SCHEMA orchestrator FROM PUBLIC;
GRANT USAGE ON SCHEMA orchestrator TO orchestrator_viewer, orchestrator_operator, orchestrator_worker;
GRANT SELECT ON ALL TABLES IN SCHEMA orchestrator TO orchestrator_viewer, orchestrator_operator;
GRANT EXECUTE ON FUNCTION read_version TO orchestrator_viewer, orchestrator_operator, orchestrator_worker;
GRANT EXECUTE ON FUNCTION read_records, read_runs, hash_records TO orchestrator_viewer;
GRANT EXECUTE ON FUNCTION
  set_budget, take_turns, pause_workspace, submit_run, begin_run, take_run, take_finished_run, append_records, renew_leases, let_go_run, list_free_runs,
  read_records, read_runs, hash_records, read_answers, read_signed_answers, take_duty, let_go_duty, append_journal, read_journal, record_worker
  TO orchestrator_worker, orchestrator_operator;
GRANT EXECUTE ON FUNCTION take_run_for_person, cancel_run, submit_answer, withdraw_answer, submit_signed_answer TO orchestrator_operator;
