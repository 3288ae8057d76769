"""Support for tests of the screen on real terminals."""
