"""What every part of Flotilla shares: errors, ids and the clock; standard library only."""
