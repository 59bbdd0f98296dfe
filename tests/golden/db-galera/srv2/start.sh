#!/bin/sh
# Starts MariaDB as a member of the cluster.
if [ ! -e /run/mysqld/started ]; then
    touch /run/mysqld/started
    exec mariadbd --defaults-file=/run/mysqld/my.cnf
fi
# again: from where the engine is, to where the others are
log=/run/mysqld/started.log
mariadbd --defaults-file=/run/mysqld/my.cnf --log-error=$log --wsrep-recover
position=$(sed -n 's/.*WSREP: Recovered position: *//p' $log | tail -n 1)
exec mariadbd --defaults-file=/run/mysqld/my.cnf ${position:+--wsrep-start-position=$position}
