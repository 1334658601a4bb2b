"""Does an AV copy less and say more when its AR has a part of the input already?"""
