"""The web application firewall: ModSecurity in nginx, with a positive model of the site."""
