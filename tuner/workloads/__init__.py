"""Company for the tuner: small models that train in milliseconds, written as a user would write them."""
