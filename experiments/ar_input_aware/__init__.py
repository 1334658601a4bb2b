"""What is left for an explanation to say when the AR sees some of the input?"""
