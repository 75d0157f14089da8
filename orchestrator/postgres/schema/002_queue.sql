-- oldest client: 1
-- The queue of runs, on Procrastinate: a job says "some worker take this run". The lease in `runs` decides who has the run.

-- include: procrastinate

-- Procrastinate has the rights of its caller, and names without a schema. Here its functions have the owner's rights, so
-- that workers need no right to its tables.
DO $$
DECLARE
  found regprocedure;
BEGIN
  FOR found IN
    SELECT oid::regprocedure FROM pg_proc
      WHERE pronamespace = 'orchestrator'::regnamespace AND proname LIKE 'procrastinate\_%'
  LOOP
    EXECUTE format('ALTER FUNCTION %s SECURITY DEFINER SET search_path = orchestrator, pg_catalog, pg_temp', found);
    EXECUTE format('REVOKE ALL ON FUNCTION %s FROM PUBLIC', found);
  END LOOP;
END $$;

-- Queue a run, unless a job waits for the run already.
CREATE FUNCTION queue_run(p_run text) RETURNS boolean
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  WITH queued AS (
    INSERT INTO orchestrator.procrastinate_jobs (queue_name, task_name, priority, queueing_lock, args)
      SELECT 'ws.' || r.workspace, 'run', r.priority, r.run_id, jsonb_build_object('run_id', r.run_id)
        FROM orchestrator.runs r WHERE r.run_id = p_run AND r.finished_at IS NULL
      ON CONFLICT (queueing_lock) WHERE status = 'todo' DO NOTHING RETURNING 1)
  SELECT count(*) = 1 FROM queued
$$;

-- Queue every run that a worker with these keys may take and that has no waiting job; returns the runs.
-- So a job that was lost, or that stuck with a dead worker, costs a few seconds only.
CREATE FUNCTION queue_free_runs(p_workspaces text[], p_format int) RETURNS SETOF text
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  INSERT INTO orchestrator.procrastinate_jobs (queue_name, task_name, priority, queueing_lock, args)
    SELECT 'ws.' || f.workspace, 'run', f.priority, f.run_id, jsonb_build_object('run_id', f.run_id)
      FROM orchestrator.list_free_runs(p_workspaces, p_format) f
    ON CONFLICT (queueing_lock) WHERE status = 'todo' DO NOTHING
    RETURNING queueing_lock
$$;

-- Who submitted a run and who cancelled the run, for the run's log: user@host as given, and the user of the database.
CREATE FUNCTION read_submission(
  p_run text, OUT submitted_by text, OUT db_user name, OUT submitted_at timestamptz, OUT stop_by text
) RETURNS SETOF record LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  SELECT r.submitted_by, r.db_user, r.submitted_at, r.stop_by FROM orchestrator.runs r WHERE r.run_id = p_run
$$;

-- List the runs held by a worker that a person wants to end.
CREATE FUNCTION list_stops(p_holder text, OUT run_id text, OUT stop_wanted text, OUT stop_by text)
RETURNS SETOF record LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  SELECT r.run_id, r.stop_wanted, r.stop_by FROM orchestrator.runs r
    WHERE r.finished_at IS NULL AND r.holder = p_holder AND r.stop_wanted IS NOT NULL
$$;

-- Cancel a run. A run that nobody holds and that has no log ends at once; otherwise the holder ends the run, or the next
-- worker. At once wins over gracefully. False for a finished run.
CREATE OR REPLACE FUNCTION cancel_run(p_run text, p_at_once boolean, p_by text) RETURNS boolean
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  WITH cancelled AS (
    UPDATE orchestrator.runs r SET stop_by = coalesce(r.stop_by, p_by), not_before = 'epoch',
        stop_wanted = CASE WHEN p_at_once OR r.stop_wanted = 'at_once' THEN 'at_once' ELSE 'gracefully' END,
        state = CASE WHEN is_idle THEN 'void' ELSE r.state END,
        exit_code = CASE WHEN is_idle THEN 8 ELSE r.exit_code END,
        reason = CASE WHEN is_idle THEN 'cancelled by ' || coalesce(r.stop_by, p_by) || ' before the first request' ELSE r.reason END,
        finished_at = CASE WHEN is_idle THEN clock_timestamp() END
      FROM (
        SELECT f.run_id, f.seq = 0 AND (f.lease_until IS NULL OR f.lease_until < clock_timestamp()) AS is_idle
          FROM orchestrator.runs f WHERE f.run_id = p_run AND f.finished_at IS NULL FOR NO KEY UPDATE) found
      WHERE r.run_id = found.run_id RETURNING 1)
  SELECT count(*) = 1 FROM cancelled
$$;

-- Forget a worker that ends in order, and workers not seen for a day.
CREATE FUNCTION forget_worker(p_holder text) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  DELETE FROM orchestrator.workers w WHERE w.holder = p_holder OR w.seen_at < clock_timestamp() - interval '1 day'
$$;

REVOKE ALL ON FUNCTION queue_run, queue_free_runs, read_submission, list_stops, forget_worker FROM PUBLIC;
GRANT EXECUTE ON FUNCTION queue_run, queue_free_runs, read_submission, list_stops, forget_worker
  TO orchestrator_worker, orchestrator_operator;
GRANT EXECUTE ON FUNCTION
  procrastinate_fetch_job_v2, procrastinate_finish_job_v1, procrastinate_register_worker_v1,
  procrastinate_unregister_worker_v1, procrastinate_update_heartbeat_v1, procrastinate_prune_stalled_workers_v1
  TO orchestrator_worker;
