"""Chooses the zipcodes of an epoch. Pure: the same arguments give the same zipcodes, on any machine."""
