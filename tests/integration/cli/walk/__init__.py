"""The walks of people who have never seen the program, from the first word to the record."""
