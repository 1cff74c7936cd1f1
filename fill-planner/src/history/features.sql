-- One row for each region and each object that was drawn in any region in the last 28 days: what a model may know of it on the evening
-- before the day to plan. Bytes are per day. A lag is that many days before the planned day, 1 is the newest.
-- Sums are of whole numbers and are divided last: sums of fractions would depend on the order in which they are added.
WITH daily AS (
    SELECT region, object, ({cut} - 1 - hour) / 24 + 1 AS age, CAST(SUM(bytes) AS BIGINT) AS bytes,
        CAST(SUM(requests) AS BIGINT) AS requests
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
        SUM(CASE WHEN age <= 3 THEN bytes ELSE 0 END) AS sum_3,
        SUM(CASE WHEN age <= 7 THEN bytes ELSE 0 END) AS sum_7,
        SUM(bytes) AS sum_28,
        SUM(CASE WHEN age IN (7, 14, 21, 28) THEN bytes ELSE 0 END) AS sum_weekday,
        SUM(CASE WHEN age <= 7 THEN requests ELSE 0 END) AS requests_7,
        MAX(age) AS first_seen, MIN(age) AS last_seen
    FROM daily
    GROUP BY region, object
),
everywhere AS (
    SELECT object, SUM(lag_1) AS lag_1, SUM(sum_7) AS sum_7, SUM(sum_28) AS sum_28, MAX(first_seen) AS first_seen,
        COUNT(*) AS regions
    FROM own
    GROUP BY object
),
regions AS (
    SELECT region, SUM(lag_1) AS lag_1, SUM(sum_7) AS sum_7
    FROM own
    GROUP BY region
),
world AS (
    SELECT COUNT(*) AS regions FROM regions
)
SELECT regions.region AS region, everywhere.object AS object,
    CAST(COALESCE(own.lag_1, 0) AS DOUBLE) AS lag_1, CAST(COALESCE(own.lag_2, 0) AS DOUBLE) AS lag_2,
    CAST(COALESCE(own.lag_3, 0) AS DOUBLE) AS lag_3, CAST(COALESCE(own.lag_7, 0) AS DOUBLE) AS lag_7,
    CAST(COALESCE(own.lag_14, 0) AS DOUBLE) AS lag_14, CAST(COALESCE(own.sum_3, 0) AS DOUBLE) / 3 AS mean_3,
    CAST(COALESCE(own.sum_7, 0) AS DOUBLE) / 7 AS mean_7, CAST(COALESCE(own.sum_28, 0) AS DOUBLE) / 28 AS mean_28,
    CAST(COALESCE(own.sum_weekday, 0) AS DOUBLE) / 4 AS same_weekday,
    CAST(COALESCE(own.requests_7, 0) AS DOUBLE) / 7 AS requests_7,
    CAST(COALESCE(own.first_seen, 0) AS DOUBLE) AS first_seen, CAST(COALESCE(own.last_seen, 0) AS DOUBLE) AS last_seen,
    CAST(everywhere.lag_1 AS DOUBLE) AS global_lag_1, CAST(everywhere.sum_7 AS DOUBLE) / 7 AS global_mean_7,
    CAST(everywhere.sum_28 AS DOUBLE) / 28 AS global_mean_28,
    CAST(everywhere.first_seen AS DOUBLE) AS global_first_seen, CAST(everywhere.regions AS DOUBLE) AS global_regions,
    CASE WHEN world.regions > 1
        THEN CAST(everywhere.sum_7 - COALESCE(own.sum_7, 0) AS DOUBLE) / 7 / (world.regions - 1)
        ELSE 0 END AS neighbours_mean_7,
    CAST(regions.lag_1 AS DOUBLE) AS region_lag_1, CAST(regions.sum_7 AS DOUBLE) / 7 AS region_mean_7
FROM regions
CROSS JOIN everywhere
CROSS JOIN world
LEFT JOIN own ON own.region = regions.region AND own.object = everywhere.object
ORDER BY region, object
