"""The core of the lab; it knows no experiment."""
