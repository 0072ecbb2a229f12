"""The flotilla command: brings a fleet up and down and says how it is."""
