-- The sessions that block another one, each as text, and for how many seconds it has been waiting.
-- Binds: pid.
WITH waiting AS (
    SELECT
        w.*,
        -- The first version with waitstart is Postgres 14.
        COALESCE(
            extract(EPOCH FROM clock_timestamp() - (to_jsonb(w) ->> 'waitstart')::timestamptz), 0
        ) AS seconds
    FROM pg_locks AS w
    WHERE w.pid = %(pid)s AND NOT w.granted
)

SELECT
    concat(
        CASE
            WHEN blocking.pid = 0 THEN 'a prepared transaction'
            ELSE
                format(
                    'session %%s of role %%s (%%s)',
                    blocking.pid, a.usename, COALESCE(NULLIF(a.application_name, ''), 'no application name')
                )
        END,
        ' ',
        COALESCE(
            string_agg(DISTINCT concat(CASE WHEN h.granted THEN 'holds ' ELSE 'asks for ' END, h.mode), ', '),
            'holds a lock'
        ),
        ' on ',
        CASE waiting.locktype
            WHEN 'relation' THEN concat('table ', waiting.relation::regclass)
            WHEN 'advisory' THEN 'the run lock of the pipeline'
            WHEN 'transactionid' THEN 'rows that it has changed'
            ELSE waiting.locktype
        END
    ) AS blocker,
    waiting.seconds
FROM waiting
CROSS JOIN LATERAL (SELECT DISTINCT unnest(pg_blocking_pids(waiting.pid)) AS pid) AS blocking
LEFT JOIN pg_stat_activity AS a ON blocking.pid = a.pid
LEFT JOIN pg_locks AS h
    ON
        blocking.pid = h.pid
        AND (
            h.locktype, h.database, h.relation, h.page, h.tuple, h.virtualxid, h.transactionid, h.classid,
            h.objid, h.objsubid
        ) IS NOT DISTINCT FROM (
            waiting.locktype, waiting.database, waiting.relation, waiting.page, waiting.tuple,
            waiting.virtualxid, waiting.transactionid, waiting.classid, waiting.objid, waiting.objsubid
        )
GROUP BY blocking.pid, a.usename, a.application_name, waiting.locktype, waiting.relation, waiting.seconds
ORDER BY blocking.pid
