"""What does an AV say that is rewarded by a flow chart?"""
