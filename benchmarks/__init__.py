"""Measurements that print small tables; nothing imports them."""
