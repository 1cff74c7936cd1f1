-- One row for each region and each object that was drawn in any region in the last 28 days: what a model may know of it on the evening
-- before the day to plan. Bytes are per day. A lag is that many days before the planned day, 1 is the newest.
WITH daily AS (
    SELECT region, object, ({cut} - 1 - hour) / 24 + 1 AS age, CAST(SUM(bytes) AS DOUBLE) AS bytes,
        CAST(SUM(requests) AS DOUBLE) AS requests
    FROM demand
    WHERE day < '{planned}' AND day >= '{oldest}'
    GROUP BY region, object, ({cut} - 1 - hour) / 24 + 1
),
own AS (
    SELECT region, object,
        SUM(CASE WHEN age = 1 THEN bytes ELSE 0 END) AS lag_1,
        SUM(CASE WHEN age = 2 THEN bytes ELSE 0 END) AS lag_2,
        SUM(CASE WHEN age = 3 THEN bytes ELSE 0 END) AS lag_3,
        SUM(CASE WHEN age = 7 THEN bytes ELSE 0 END) AS lag_7,
        SUM(CASE WHEN age = 14 THEN bytes ELSE 0 END) AS lag_14,
        SUM(CASE WHEN age <= 3 THEN bytes ELSE 0 END) / 3 AS mean_3,
        SUM(CASE WHEN age <= 7 THEN bytes ELSE 0 END) / 7 AS mean_7,
        SUM(bytes) / 28 AS mean_28,
        SUM(CASE WHEN age IN (7, 14, 21, 28) THEN bytes ELSE 0 END) / 4 AS same_weekday,
        SUM(CASE WHEN age <= 7 THEN requests ELSE 0 END) / 7 AS requests_7,
        MAX(age) AS first_seen, MIN(age) AS last_seen
    FROM daily
    GROUP BY region, object
),
everywhere AS (
    SELECT object, SUM(lag_1) AS global_lag_1, SUM(mean_7) AS global_mean_7, SUM(mean_28) AS global_mean_28,
        MAX(first_seen) AS global_first_seen, CAST(COUNT(*) AS DOUBLE) AS global_regions
    FROM own
    GROUP BY object
),
regions AS (
    SELECT region, SUM(lag_1) AS region_lag_1, SUM(mean_7) AS region_mean_7
    FROM own
    GROUP BY region
),
world AS (
    SELECT CAST(COUNT(*) AS DOUBLE) AS regions FROM regions
)
SELECT regions.region AS region, everywhere.object AS object,
    COALESCE(lag_1, 0) AS lag_1, COALESCE(lag_2, 0) AS lag_2, COALESCE(lag_3, 0) AS lag_3, COALESCE(lag_7, 0) AS lag_7,
    COALESCE(lag_14, 0) AS lag_14, COALESCE(mean_3, 0) AS mean_3, COALESCE(mean_7, 0) AS mean_7,
    COALESCE(mean_28, 0) AS mean_28, COALESCE(same_weekday, 0) AS same_weekday, COALESCE(requests_7, 0) AS requests_7,
    CAST(COALESCE(first_seen, 0) AS DOUBLE) AS first_seen, CAST(COALESCE(last_seen, 0) AS DOUBLE) AS last_seen,
    global_lag_1, global_mean_7, global_mean_28, CAST(global_first_seen AS DOUBLE) AS global_first_seen, global_regions,
    CASE WHEN world.regions > 1 THEN (global_mean_7 - COALESCE(mean_7, 0)) / (world.regions - 1) ELSE 0 END AS neighbours_mean_7,
    region_lag_1, region_mean_7
FROM regions
CROSS JOIN everywhere
CROSS JOIN world
LEFT JOIN own ON own.region = regions.region AND own.object = everywhere.object
ORDER BY region, object
