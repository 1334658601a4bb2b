"""Can the AR be a flow chart that a person follows by hand?"""
