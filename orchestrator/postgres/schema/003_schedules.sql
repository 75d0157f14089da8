-- oldest client: 1
-- Schedules over several machines: firings under the fence of the duty `schedules`, snoozes, and the pushed playbooks.

-- A firing with no holder at this time never starts: the night is over. NULL: the run may start at any time.
ALTER TABLE runs ADD COLUMN start_before timestamptz CHECK (isfinite(start_before));

CREATE TABLE snoozes (
  playbook text PRIMARY KEY,
  begins timestamptz NOT NULL CHECK (isfinite(begins)),
  until timestamptz NOT NULL CHECK (isfinite(until)),
  snoozed_by text NOT NULL,
  db_user name NOT NULL DEFAULT session_user,
  at timestamptz NOT NULL DEFAULT clock_timestamp()
);

CREATE TABLE pushes (                      -- every push with a change
  seq bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  changes jsonb NOT NULL,                  -- {"added": [NAME…], "changed": [NAME…], "removed": [NAME…], "calendars": [PATH…]}
  pushed_by text NOT NULL,
  db_user name NOT NULL DEFAULT session_user,
  at timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE TABLE playbooks (
  name text PRIMARY KEY,
  file text NOT NULL UNIQUE,               -- name of the file in the pushed folder
  source bytea NOT NULL,
  sha256 text NOT NULL,
  push bigint NOT NULL REFERENCES pushes   -- the last push with a change of this playbook
);
CREATE TABLE calendars (                   -- calendar files of playbooks; the path is relative to the pushed folder
  path text PRIMARY KEY,
  data bytea NOT NULL
);
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON pushes EXECUTE FUNCTION refuse_change();

CREATE INDEX journal_snapshots ON journal (seq) WHERE line ->> 'event' = 'snapshot';

-- The leader ------------------------------------------------------------------------------------------------------

-- Who has a duty, and until when; `now` is the time of the database.
CREATE FUNCTION read_duty(p_name text, OUT epoch bigint, OUT holder text, OUT lease_until timestamptz, OUT now timestamptz)
RETURNS SETOF record LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  SELECT l.epoch, l.holder, l.lease_until, clock_timestamp() FROM orchestrator.leases l WHERE l.name = p_name
$$;

-- The lines of the journal from the last snapshot on.
CREATE FUNCTION read_journal_tail(OUT seq bigint, OUT line jsonb)
RETURNS SETOF record LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  SELECT j.seq, j.line FROM orchestrator.journal j
    WHERE j.seq >= coalesce((SELECT max(s.seq) FROM orchestrator.journal s WHERE s.line ->> 'event' = 'snapshot'), 0)
    ORDER BY j.seq
$$;

-- Submit the run of a firing, with its job, under the fence of the duty `schedules`: `submitted`, `exists`, or `fenced`.
-- The budget is for a workspace without a budget.
CREATE FUNCTION submit_firing(
  p_epoch bigint, p_lease_id uuid, p_run text, p_workspace text, p_rate float8, p_burst int, p_playbook text,
  p_planned timestamptz, p_spec jsonb, p_format int, p_start_before timestamptz, p_by text
) RETURNS text LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  PERFORM 1 FROM orchestrator.leases l
    WHERE l.name = 'schedules' AND l.epoch = p_epoch AND l.lease_id = p_lease_id FOR UPDATE;
  IF NOT FOUND THEN
    RETURN 'fenced';
  END IF;
  PERFORM orchestrator.set_budget(p_workspace, p_rate, p_burst, false, p_by);
  INSERT INTO orchestrator.runs (run_id, workspace, playbook, planned, spec, format, state, start_before, submitted_by)
    VALUES (p_run, p_workspace, p_playbook, p_planned, p_spec, p_format, 'planning', p_start_before, p_by)
    ON CONFLICT DO NOTHING;
  IF NOT FOUND THEN
    RETURN 'exists';
  END IF;
  PERFORM orchestrator.queue_run(p_run);
  RETURN 'submitted';
END $$;

-- Append the claim of a firing to the journal, and submit its run, in one transaction: no claim is without its run.
-- False, with nothing written, after another take of the duty.
CREATE FUNCTION claim_firing(
  p_epoch bigint, p_lease_id uuid, p_seq bigint, p_line jsonb, p_run text, p_workspace text, p_rate float8, p_burst int,
  p_playbook text, p_planned timestamptz, p_spec jsonb, p_format int, p_start_before timestamptz, p_by text
) RETURNS boolean LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  IF NOT orchestrator.append_journal(p_epoch, p_lease_id, p_seq, p_line) THEN
    RETURN false;
  END IF;
  PERFORM orchestrator.submit_firing(
    p_epoch, p_lease_id, p_run, p_workspace, p_rate, p_burst, p_playbook, p_planned, p_spec, p_format, p_start_before, p_by);
  RETURN true;
END $$;

-- Give up a firing with no holder so far, under the fence of the duty `schedules`. False for a started run.
CREATE FUNCTION give_up_firing(p_epoch bigint, p_lease_id uuid, p_run text, p_exit_code int, p_reason text) RETURNS boolean
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  WITH held AS MATERIALIZED (
    SELECT 1 FROM orchestrator.leases l
      WHERE l.name = 'schedules' AND l.epoch = p_epoch AND l.lease_id = p_lease_id FOR UPDATE),
  given_up AS (
    UPDATE orchestrator.runs r SET state = 'void', exit_code = p_exit_code, reason = p_reason, finished_at = clock_timestamp()
      FROM held WHERE r.run_id = p_run AND r.epoch = 0 AND r.finished_at IS NULL RETURNING 1)
  SELECT count(*) = 1 FROM given_up
$$;

-- Start a firing again that ended without a record, such as while the API was unreachable. False too late, and for a
-- run with a record.
CREATE FUNCTION retry_firing(p_epoch bigint, p_lease_id uuid, p_run text) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  PERFORM 1 FROM orchestrator.leases l
    WHERE l.name = 'schedules' AND l.epoch = p_epoch AND l.lease_id = p_lease_id FOR UPDATE;
  IF NOT FOUND THEN
    RETURN false;
  END IF;
  UPDATE orchestrator.runs r SET state = 'planning', finished_at = NULL, exit_code = NULL, reason = NULL, takes_without_progress = 0
    WHERE r.run_id = p_run AND r.state = 'void' AND r.seq = 0 AND r.stop_wanted IS NULL
      AND (r.start_before IS NULL OR r.start_before > clock_timestamp());
  IF NOT FOUND THEN
    RETURN false;
  END IF;
  PERFORM orchestrator.queue_run(p_run);
  RETURN true;
END $$;

-- The progress of a firing's run. is_late: the run can't start any more. is_left: no worker continues the run by itself.
-- is_unsent: the run has ended without a record.
CREATE FUNCTION read_firing_run(
  p_run text, OUT is_late boolean, OUT is_left boolean, OUT exit_code int, OUT reason text, OUT finished_at timestamptz,
  OUT is_unsent boolean
) RETURNS SETOF record LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  SELECT r.epoch = 0 AND r.finished_at IS NULL AND coalesce(r.start_before < clock_timestamp(), false),
      r.finished_at IS NULL AND (r.state IN ('planned', 'left')
        OR NOT r.adopt AND r.epoch > 0 AND (r.lease_until IS NULL OR r.lease_until < clock_timestamp())),
      r.exit_code, r.reason, r.finished_at, r.state = 'void' AND r.seq = 0
    FROM orchestrator.runs r WHERE r.run_id = p_run
$$;

-- A trigger, so that every function that takes runs leaves a late firing alone.
CREATE FUNCTION refuse_late_start() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  IF OLD.start_before < clock_timestamp() THEN
    RETURN NULL;  -- no row is changed: the run is not taken
  END IF;
  RETURN NEW;
END $$;
CREATE TRIGGER late_start BEFORE UPDATE OF epoch ON runs
  FOR EACH ROW WHEN (OLD.epoch = 0 AND NEW.epoch = 1 AND OLD.start_before IS NOT NULL) EXECUTE FUNCTION refuse_late_start();

-- Snoozes -----------------------------------------------------------------------------------------------------------

CREATE FUNCTION read_snoozes(OUT playbook text, OUT begins timestamptz, OUT until timestamptz, OUT snoozed_by text)
RETURNS SETOF record LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  SELECT s.playbook, s.begins, s.until, s.snoozed_by FROM orchestrator.snoozes s
$$;

-- Snooze a playbook, or change the end of its snooze. Snoozes that ended long ago are forgotten.
CREATE FUNCTION set_snooze(p_playbook text, p_begins timestamptz, p_until timestamptz, p_by text) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  DELETE FROM orchestrator.snoozes s WHERE p_begins - s.until >= interval '400 days';
  INSERT INTO orchestrator.snoozes AS s (playbook, begins, until, snoozed_by) VALUES (p_playbook, p_begins, p_until, p_by)
    ON CONFLICT (playbook) DO UPDATE SET until = p_until, snoozed_by = p_by, db_user = session_user, at = clock_timestamp(),
      begins = CASE WHEN p_begins < s.until THEN s.begins ELSE p_begins END
$$;

-- End a snooze now; firings skipped so far stay skipped. False without an active snooze.
CREATE FUNCTION clear_snooze(p_playbook text, p_now timestamptz) RETURNS boolean
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  WITH ended AS (
    UPDATE orchestrator.snoozes s SET until = p_now WHERE s.playbook = p_playbook AND p_now < s.until RETURNING 1)
  SELECT count(*) = 1 FROM ended
$$;

-- Playbooks ---------------------------------------------------------------------------------------------------------

-- Push a folder. A row for each playbook and each calendar: added, changed, unchanged, removed, or kept (not in the
-- folder, and not removed because p_prune is false). A file with another playbook than before replaces that playbook.
CREATE FUNCTION push_playbooks(
  p_name text[], p_file text[], p_source bytea[], p_sha256 text[], p_path text[], p_data bytea[], p_prune boolean, p_by text,
  OUT kind text, OUT name text, OUT change text
) RETURNS SETOF record LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
  v_push bigint;
  v_rows jsonb;
  v_changes jsonb;
BEGIN
  LOCK TABLE orchestrator.playbooks, orchestrator.calendars IN SHARE ROW EXCLUSIVE MODE;
  SELECT jsonb_agg(r ORDER BY r.kind DESC, r.name) INTO v_rows FROM (
    SELECT 'playbook' AS kind, coalesce(g.name, p.name) AS name,
        CASE
          WHEN p.name IS NULL THEN 'added'
          WHEN g.name IS NULL AND (p_prune OR p.file = ANY (p_file)) THEN 'removed'
          WHEN g.name IS NULL THEN 'kept'
          WHEN (g.sha256, g.file) IS DISTINCT FROM (p.sha256, p.file) THEN 'changed'
          ELSE 'unchanged'
        END AS change
      FROM unnest(p_name, p_file, p_sha256) AS g(name, file, sha256) FULL JOIN orchestrator.playbooks p USING (name)
    UNION ALL
    SELECT 'calendar', coalesce(g.path, c.path),
        CASE
          WHEN c.path IS NULL THEN 'added'
          WHEN g.path IS NULL AND p_prune THEN 'removed'
          WHEN g.path IS NULL THEN 'kept'
          WHEN g.data IS DISTINCT FROM c.data THEN 'changed'
          ELSE 'unchanged'
        END
      FROM unnest(p_path, p_data) AS g(path, data) FULL JOIN orchestrator.calendars c USING (path)) r;
  SELECT jsonb_object_agg(t.change, t.names) INTO v_changes FROM (
    SELECT CASE c.kind WHEN 'calendar' THEN 'calendars' ELSE c.change END AS change, jsonb_agg(c.name ORDER BY c.name) AS names
      FROM jsonb_to_recordset(v_rows) AS c(kind text, name text, change text)
      WHERE c.change IN ('added', 'changed', 'removed') GROUP BY 1) t;
  IF v_changes IS NOT NULL THEN
    INSERT INTO orchestrator.pushes (changes, pushed_by) VALUES (v_changes, p_by) RETURNING seq INTO v_push;
    DELETE FROM orchestrator.playbooks p USING jsonb_to_recordset(v_rows) AS c(kind text, name text, change text)
      WHERE c.kind = 'playbook' AND c.name = p.name AND c.change IN ('changed', 'removed');
    INSERT INTO orchestrator.playbooks (name, file, source, sha256, push)
      SELECT g.name, g.file, g.source, g.sha256, v_push
        FROM unnest(p_name, p_file, p_source, p_sha256) AS g(name, file, source, sha256)
        JOIN jsonb_to_recordset(v_rows) AS c(kind text, name text, change text)
          ON c.kind = 'playbook' AND c.name = g.name AND c.change IN ('added', 'changed');
    DELETE FROM orchestrator.calendars d USING jsonb_to_recordset(v_rows) AS c(kind text, name text, change text)
      WHERE c.kind = 'calendar' AND c.name = d.path AND c.change IN ('changed', 'removed');
    INSERT INTO orchestrator.calendars (path, data)
      SELECT g.path, g.data FROM unnest(p_path, p_data) AS g(path, data)
        JOIN jsonb_to_recordset(v_rows) AS c(kind text, name text, change text)
          ON c.kind = 'calendar' AND c.name = g.path AND c.change IN ('added', 'changed');
  END IF;
  RETURN QUERY SELECT c.kind, c.name, c.change FROM jsonb_to_recordset(v_rows) AS c(kind text, name text, change text);
END $$;

-- Number of the last push; 0 before the first push.
CREATE FUNCTION read_last_push() RETURNS bigint LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  SELECT coalesce(max(p.seq), 0) FROM orchestrator.pushes p
$$;

CREATE FUNCTION read_playbooks(
  OUT name text, OUT file text, OUT source bytea, OUT sha256 text, OUT pushed_by text, OUT pushed_at timestamptz)
RETURNS SETOF record LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  SELECT b.name, b.file, b.source, b.sha256, p.pushed_by, p.at
    FROM orchestrator.playbooks b JOIN orchestrator.pushes p ON p.seq = b.push ORDER BY b.name
$$;

CREATE FUNCTION read_calendars(OUT path text, OUT data bytea)
RETURNS SETOF record LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  SELECT c.path, c.data FROM orchestrator.calendars c ORDER BY c.path
$$;

-- Rights ------------------------------------------------------------------------------------------------------------

REVOKE ALL ON FUNCTION
  read_duty, read_journal_tail, submit_firing, claim_firing, give_up_firing, retry_firing, read_firing_run, refuse_late_start, read_snoozes, set_snooze,
  clear_snooze, push_playbooks, read_last_push, read_playbooks, read_calendars FROM PUBLIC;
GRANT SELECT ON snoozes, pushes, playbooks, calendars TO orchestrator_viewer, orchestrator_operator;
GRANT EXECUTE ON FUNCTION
  read_duty, read_journal_tail, read_firing_run, read_snoozes, read_last_push, read_playbooks, read_calendars
  TO orchestrator_viewer, orchestrator_operator, orchestrator_worker;
GRANT EXECUTE ON FUNCTION submit_firing, claim_firing, give_up_firing, retry_firing TO orchestrator_worker, orchestrator_operator;
GRANT EXECUTE ON FUNCTION set_snooze, clear_snooze, push_playbooks TO orchestrator_operator;
