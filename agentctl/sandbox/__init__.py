"""Where commands of a shell run: started alone, read with a bound, ended with all they started."""
