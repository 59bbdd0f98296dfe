"""``web_failover``: what visitors notice when web servers die."""
