"""Does a weaker AR make the AV quote less and say more?"""
