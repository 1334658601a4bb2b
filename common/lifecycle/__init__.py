"""When a run is made: the one life that every run of every arm has."""
