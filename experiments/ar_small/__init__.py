"""How small can the AR be?"""
