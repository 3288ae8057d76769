"""A machine with something to lose, and a model that wants all of it: `victim` is the machine, `attacks` the calls."""
