"""A stand-in for the package `smacv2`: its interface, with a battle of a few lines instead of the game."""
