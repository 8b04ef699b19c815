"""Methods on spiking networks and the events that they see: one file and one card each."""
