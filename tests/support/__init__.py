"""What tests of several folders share: servers, fixtures, fakes of a model, and the table of the house."""
