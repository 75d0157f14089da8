-- oldest client: 1
-- Used plans: an approved plan counts for one run on all machines.

CREATE TABLE plan_uses (
  digest text PRIMARY KEY,                 -- of the plan file
  run_id text NOT NULL,
  used_by text NOT NULL,
  db_user name NOT NULL DEFAULT session_user,
  at timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON plan_uses EXECUTE FUNCTION refuse_change();

-- Record the use of a plan by a run; returns the first use.
CREATE FUNCTION use_plan(p_digest text, p_run text, p_by text, OUT run_id text, OUT at timestamptz)
RETURNS SETOF record LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  INSERT INTO orchestrator.plan_uses AS u (digest, run_id, used_by) VALUES (p_digest, p_run, p_by)
    ON CONFLICT ON CONSTRAINT plan_uses_pkey DO NOTHING;
  RETURN QUERY SELECT u.run_id, u.at FROM orchestrator.plan_uses u WHERE u.digest = p_digest;
END $$;

REVOKE ALL ON FUNCTION use_plan FROM PUBLIC;
GRANT SELECT ON plan_uses TO orchestrator_viewer, orchestrator_operator;
GRANT EXECUTE ON FUNCTION use_plan TO orchestrator_worker, orchestrator_operator;
