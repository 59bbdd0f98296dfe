"""What holds the switch in front of a server: the redirection, the machine behind it, and who asks meanwhile."""
