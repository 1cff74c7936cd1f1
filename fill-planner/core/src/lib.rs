//! Forecast and placement: demand, catalogue and fleet to a numbered plan; pure.
