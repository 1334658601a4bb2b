"""What does reinforcement learning do to an NLA?"""
