-- oldest client: 1
-- Exemptions by command: CVMs that no run stops, shuts down or restarts until a time.

CREATE TABLE keeps (
  key text NOT NULL CHECK (key IN ('id', 'name', 'app_id')),
  value text NOT NULL,
  until timestamptz NOT NULL CHECK (isfinite(until)),
  owner text NOT NULL,
  reason text NOT NULL,
  kept_by text NOT NULL,
  db_user name NOT NULL DEFAULT session_user,
  at timestamptz NOT NULL DEFAULT clock_timestamp(),
  PRIMARY KEY (key, value)
);

-- All exemptions; an expired exemption is shown for 90 days.
CREATE FUNCTION read_keeps(OUT key text, OUT value text, OUT until timestamptz, OUT owner text, OUT reason text)
RETURNS SETOF record LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  SELECT k.key, k.value, k.until, k.owner, k.reason FROM orchestrator.keeps k
    WHERE k.until > clock_timestamp() - interval '90 days' ORDER BY k.until, k.key, k.value
$$;

-- Add exemptions; an exemption of the same CVM is replaced.
CREATE FUNCTION add_keeps(p_keeps jsonb, p_by text) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  DELETE FROM orchestrator.keeps k WHERE k.until < clock_timestamp() - interval '90 days';
  INSERT INTO orchestrator.keeps AS k (key, value, until, owner, reason, kept_by)
    SELECT x.key, x.value, x.until, x.owner, x.reason, p_by
      FROM jsonb_to_recordset(p_keeps) AS x(key text, value text, until timestamptz, owner text, reason text)
    ON CONFLICT ON CONSTRAINT keeps_pkey DO UPDATE SET until = excluded.until, owner = excluded.owner, reason = excluded.reason,
      kept_by = p_by, db_user = session_user, at = clock_timestamp()
$$;

-- End exemptions; returns the values of those that were in force.
CREATE FUNCTION remove_keeps(p_values text[]) RETURNS SETOF text
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  WITH removed AS (DELETE FROM orchestrator.keeps k WHERE k.value = ANY (p_values) RETURNING k.value, k.until)
  SELECT r.value FROM removed r WHERE r.until > clock_timestamp() ORDER BY r.value
$$;

REVOKE ALL ON FUNCTION read_keeps, add_keeps, remove_keeps FROM PUBLIC;
GRANT SELECT ON keeps TO orchestrator_viewer, orchestrator_operator;
GRANT EXECUTE ON FUNCTION read_keeps TO orchestrator_worker, orchestrator_operator, orchestrator_viewer;
GRANT EXECUTE ON FUNCTION add_keeps, remove_keeps TO orchestrator_operator;
