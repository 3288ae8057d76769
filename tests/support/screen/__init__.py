"""The screen: what is drawn, asked and left behind, on real terminals."""
