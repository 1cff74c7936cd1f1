-- First and last hour that is known before the day to plan.
SELECT MIN(hour) AS first, MAX(hour) AS last
FROM demand
WHERE day < '{planned}' AND day >= '{oldest}'
