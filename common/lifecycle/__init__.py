"""When a run is made: the same steps for every run of every arm."""
