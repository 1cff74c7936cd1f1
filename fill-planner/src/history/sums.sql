-- Bytes by region, object and day; days are of 24 hours that end where knowledge ends, 0 is the newest.
SELECT region, object, ({end} - 1 - hour) / 24 AS age, SUM(bytes) AS bytes
FROM demand
WHERE day < '{planned}' AND day >= '{oldest}' AND bytes > 0
GROUP BY region, object, ({end} - 1 - hour) / 24
