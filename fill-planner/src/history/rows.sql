-- The rows of a span of days, as they were added.
SELECT region, object, hour, requests, bytes
FROM demand
WHERE day < '{planned}' AND day >= '{oldest}'
ORDER BY hour, region, object
