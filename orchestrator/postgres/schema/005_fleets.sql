-- oldest client: 1
-- Fleet orders over many workers: a run for each workspace (a member), and the fleet run itself, a run without a workspace.
-- Every member plans, and waits for its verdict. The holder of the fleet run, the coordinator, reads all plans and gives
-- the verdicts. The log of the fleet run is kept as the log of any run.

ALTER TABLE runs ALTER COLUMN workspace DROP NOT NULL;
ALTER TABLE runs ADD COLUMN fleet_id text REFERENCES runs;
ALTER TABLE runs ADD COLUMN plan jsonb;    -- of a member: the totals of its plan, for the guards over all workspaces
ALTER TABLE runs ADD COLUMN verdict text;  -- on a member: go, refuse, or the ending of a member that sends nothing more
ALTER TABLE runs ADD CONSTRAINT runs_member_has_workspace CHECK (workspace IS NOT NULL OR fleet_id IS NULL);
CREATE UNIQUE INDEX runs_fleet_firings ON runs (playbook, planned) WHERE workspace IS NULL AND planned IS NOT NULL;
CREATE INDEX runs_members ON runs (fleet_id) WHERE fleet_id IS NOT NULL;
CREATE INDEX records_failures ON records (run_id) WHERE event = 'target.failed';

-- Submit a fleet run with its members, in one transaction; false if the fleet run exists already.
CREATE FUNCTION submit_fleet(
  p_fleet text, p_playbook text, p_planned timestamptz, p_spec jsonb, p_format int, p_priority int, p_by text,
  p_runs text[], p_workspaces text[]
) RETURNS boolean LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  WITH fleet AS (
    INSERT INTO orchestrator.runs (run_id, playbook, planned, spec, format, priority, state, submitted_by)
      VALUES (p_fleet, p_playbook, p_planned, p_spec, p_format, p_priority, 'planning', p_by)
      ON CONFLICT DO NOTHING RETURNING run_id),
  members AS (
    INSERT INTO orchestrator.runs (run_id, fleet_id, workspace, playbook, spec, format, priority, state, submitted_by)
      SELECT m.run_id, fleet.run_id, m.workspace, p_playbook, p_spec, p_format, p_priority, 'planning', p_by
        FROM fleet, unnest(p_runs, p_workspaces) AS m(run_id, workspace))
  SELECT count(*) = 1 FROM fleet
$$;

-- The members of a fleet run. `failed`: records of failed targets; `last`: the last record of a finished member.
CREATE FUNCTION list_members(
  p_fleet text, OUT run_id text, OUT workspace text, OUT state text, OUT plan jsonb, OUT verdict text, OUT exit_code int,
  OUT reason text, OUT failed bigint, OUT last bytea
) RETURNS SETOF record LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  SELECT r.run_id, r.workspace, r.state, r.plan, r.verdict, r.exit_code, r.reason,
      (SELECT count(*) FROM orchestrator.records f WHERE f.run_id = r.run_id AND f.event = 'target.failed'),
      (SELECT l.line FROM orchestrator.records l
        WHERE r.state = 'finished' AND l.run_id = r.run_id AND l.event = 'run.finished' ORDER BY l.seq DESC LIMIT 1)
    FROM orchestrator.runs r WHERE r.fleet_id = p_fleet ORDER BY r.workspace
$$;

-- Report the totals of a member's plan, under the member's fence; false after another take.
CREATE FUNCTION report_plan(p_run text, p_epoch bigint, p_lease_id uuid, p_plan jsonb) RETURNS boolean
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  WITH reported AS (
    UPDATE orchestrator.runs r SET plan = p_plan, takes_without_progress = 0
      WHERE r.run_id = p_run AND r.epoch = p_epoch AND r.lease_id = p_lease_id RETURNING 1)
  SELECT count(*) = 1 FROM reported
$$;

-- Give members a verdict, under the fence of the fleet run; an ending replaces `go`, and nothing replaces an ending.
-- A refused member without a holder and without a log ends at once.
CREATE FUNCTION give_verdict(p_fleet text, p_epoch bigint, p_lease_id uuid, p_runs text[], p_verdict text) RETURNS boolean
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  WITH held AS MATERIALIZED (
    SELECT f.run_id FROM orchestrator.runs f
      WHERE f.run_id = p_fleet AND f.epoch = p_epoch AND f.lease_id = p_lease_id FOR NO KEY UPDATE),
  members AS MATERIALIZED (
    SELECT m.run_id,
        p_verdict = 'refuse' AND m.seq = 0 AND (m.lease_until IS NULL OR m.lease_until < clock_timestamp()) AS ends
      FROM orchestrator.runs m JOIN held ON m.fleet_id = held.run_id
      WHERE m.run_id = ANY (p_runs) AND m.finished_at IS NULL AND coalesce(m.verdict, 'go') = 'go'
      ORDER BY m.run_id FOR NO KEY UPDATE OF m),
  given AS (
    UPDATE orchestrator.runs m SET verdict = p_verdict, not_before = 'epoch',
        state = CASE WHEN members.ends THEN 'void' ELSE m.state END,
        reason = CASE WHEN members.ends THEN 'the fleet run was refused' ELSE m.reason END,
        finished_at = CASE WHEN members.ends THEN clock_timestamp() END
      FROM members WHERE m.run_id = members.run_id)
  SELECT count(*) = 1 FROM held
$$;

-- The verdict on a run; no row for a run outside fleet runs.
CREATE FUNCTION read_verdict(p_run text, OUT fleet_id text, OUT verdict text)
RETURNS SETOF record LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  SELECT r.fleet_id, r.verdict FROM orchestrator.runs r WHERE r.run_id = p_run AND r.fleet_id IS NOT NULL
$$;

-- Every worker may coordinate a fleet run: a coordinator needs no key. The queue of fleet runs is `fleets`.
CREATE OR REPLACE FUNCTION list_free_runs(p_workspaces text[], p_format int, OUT run_id text, OUT workspace text, OUT priority int)
RETURNS SETOF record LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  SELECT r.run_id, r.workspace, r.priority FROM orchestrator.runs r
    WHERE r.finished_at IS NULL AND r.state IN ('planning', 'ready')
      AND (r.workspace = ANY (p_workspaces) OR r.workspace IS NULL)
      AND (r.adopt OR r.epoch = 0) AND r.format <= p_format AND r.not_before <= clock_timestamp()
      AND (r.lease_until IS NULL OR r.lease_until < clock_timestamp())
    ORDER BY r.priority DESC, r.run_id
$$;
CREATE OR REPLACE FUNCTION queue_run(p_run text) RETURNS boolean
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  WITH queued AS (
    INSERT INTO orchestrator.procrastinate_jobs (queue_name, task_name, priority, queueing_lock, args)
      SELECT coalesce('ws.' || r.workspace, 'fleets'), 'run', r.priority, r.run_id, jsonb_build_object('run_id', r.run_id)
        FROM orchestrator.runs r WHERE r.run_id = p_run AND r.finished_at IS NULL
      ON CONFLICT (queueing_lock) WHERE status = 'todo' DO NOTHING RETURNING 1)
  SELECT count(*) = 1 FROM queued
$$;
CREATE OR REPLACE FUNCTION queue_free_runs(p_workspaces text[], p_format int) RETURNS SETOF text
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  INSERT INTO orchestrator.procrastinate_jobs (queue_name, task_name, priority, queueing_lock, args)
    SELECT coalesce('ws.' || f.workspace, 'fleets'), 'run', f.priority, f.run_id, jsonb_build_object('run_id', f.run_id)
      FROM orchestrator.list_free_runs(p_workspaces, p_format) f
    ON CONFLICT (queueing_lock) WHERE status = 'todo' DO NOTHING
    RETURNING queueing_lock
$$;
-- The firing of a schedule as before; without a workspace, a fleet run with the members of p_spec:
-- {"members": {WORKSPACE: {"run_id": …, "rate": …, "burst": …}}}.
CREATE OR REPLACE FUNCTION submit_firing(
  p_epoch bigint, p_lease_id uuid, p_run text, p_workspace text, p_rate float8, p_burst int, p_playbook text,
  p_planned timestamptz, p_spec jsonb, p_format int, p_start_before timestamptz, p_by text
) RETURNS text LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  member record;
BEGIN
  PERFORM 1 FROM orchestrator.leases l
    WHERE l.name = 'schedules' AND l.epoch = p_epoch AND l.lease_id = p_lease_id FOR UPDATE;
  IF NOT FOUND THEN
    RETURN 'fenced';
  END IF;
  IF p_workspace IS NOT NULL THEN
    PERFORM orchestrator.set_budget(p_workspace, p_rate, p_burst, false, p_by);
  END IF;
  INSERT INTO orchestrator.runs (run_id, workspace, playbook, planned, spec, format, state, start_before, submitted_by)
    VALUES (p_run, p_workspace, p_playbook, p_planned, p_spec, p_format, 'planning', p_start_before, p_by)
    ON CONFLICT DO NOTHING;
  IF NOT FOUND THEN
    RETURN 'exists';
  END IF;
  IF p_workspace IS NULL THEN
    FOR member IN
      SELECT m.key AS workspace, m.value ->> 'run_id' AS run_id, (m.value ->> 'rate')::float8 AS rate, (m.value ->> 'burst')::int AS burst
        FROM jsonb_each(p_spec -> 'members') m ORDER BY m.key
    LOOP
      PERFORM orchestrator.set_budget(member.workspace, member.rate, member.burst, false, p_by);
      INSERT INTO orchestrator.runs (run_id, fleet_id, workspace, playbook, spec, format, state, submitted_by)
        VALUES (member.run_id, p_run, member.workspace, p_playbook, p_spec, p_format, 'planning', p_by);
      PERFORM orchestrator.queue_run(member.run_id);
    END LOOP;
  END IF;
  PERFORM orchestrator.queue_run(p_run);
  RETURN 'submitted';
END $$;

-- Give up a firing as before; with a fleet run, its members too.
ALTER FUNCTION give_up_firing(bigint, uuid, text, int, text) RENAME TO give_up_single_firing;
CREATE FUNCTION give_up_firing(p_epoch bigint, p_lease_id uuid, p_run text, p_exit_code int, p_reason text) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  IF NOT orchestrator.give_up_single_firing(p_epoch, p_lease_id, p_run, p_exit_code, p_reason) THEN
    RETURN false;
  END IF;
  UPDATE orchestrator.runs m SET verdict = 'refuse' WHERE m.fleet_id = p_run AND m.finished_at IS NULL;
  UPDATE orchestrator.runs m SET state = 'void', exit_code = p_exit_code, reason = p_reason, finished_at = clock_timestamp()
    WHERE m.fleet_id = p_run AND m.seq = 0 AND m.finished_at IS NULL
      AND (m.lease_until IS NULL OR m.lease_until < clock_timestamp());
  RETURN true;
END $$;

-- Start a firing again as before; with a fleet run, its members too.
ALTER FUNCTION retry_firing(bigint, uuid, text) RENAME TO retry_single_firing;
CREATE FUNCTION retry_firing(p_epoch bigint, p_lease_id uuid, p_run text) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  IF EXISTS (SELECT 1 FROM orchestrator.runs m WHERE m.fleet_id = p_run AND (m.seq > 0 OR m.finished_at IS NULL))
      OR NOT orchestrator.retry_single_firing(p_epoch, p_lease_id, p_run) THEN
    RETURN false;
  END IF;
  UPDATE orchestrator.runs m SET state = 'planning', finished_at = NULL, exit_code = NULL, reason = NULL, plan = NULL,
      verdict = NULL, takes_without_progress = 0
    WHERE m.fleet_id = p_run;
  PERFORM orchestrator.queue_run(m.run_id) FROM orchestrator.runs m WHERE m.fleet_id = p_run;
  RETURN true;
END $$;

-- Cancel a run as before; of a fleet run, all members too.
ALTER FUNCTION cancel_run(text, boolean, text) RENAME TO cancel_single_run;
CREATE FUNCTION cancel_run(p_run text, p_at_once boolean, p_by text) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  is_open boolean := orchestrator.cancel_single_run(p_run, p_at_once, p_by);
BEGIN
  PERFORM orchestrator.cancel_single_run(m.run_id, p_at_once, p_by)
    FROM (SELECT r.run_id FROM orchestrator.runs r WHERE r.fleet_id = p_run ORDER BY r.run_id) m;
  RETURN is_open;
END $$;

REVOKE ALL ON FUNCTION submit_fleet, list_members, report_plan, give_verdict, read_verdict, cancel_run, cancel_single_run,
  give_up_firing, give_up_single_firing, retry_firing, retry_single_firing FROM PUBLIC;
REVOKE ALL ON FUNCTION cancel_single_run, give_up_single_firing, retry_single_firing FROM orchestrator_operator, orchestrator_worker;
GRANT EXECUTE ON FUNCTION give_up_firing, retry_firing TO orchestrator_worker, orchestrator_operator;
GRANT EXECUTE ON FUNCTION cancel_run TO orchestrator_operator;
GRANT EXECUTE ON FUNCTION submit_fleet, list_members, report_plan, give_verdict, read_verdict
  TO orchestrator_worker, orchestrator_operator;
