# gunicorn: one worker process with threads, on loopback only: nginx stands in front.
bind = "127.0.0.1:8000"
workers = 1
worker_class = "gthread"
threads = 8
keepalive = 60
timeout = 30
graceful_timeout = 2
worker_tmp_dir = "/run"
control_socket_disable = True
access_log_format = (
    '"request_id":"%({x-request-id}i)s","from":"%({x-forwarded-for}i)s","request":"%(r)s",'
    '"status":%(s)s,"bytes":%(B)s,"seconds":%(L)s'
)
logconfig_dict = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {
        "access": {"format": '{"time":%(created).6f,%(message)s}'},
        "plain": {"format": "%(asctime)s %(levelname)s %(name)s: %(message)s"},
    },
    "handlers": {
        "access": {"class": "logging.FileHandler", "filename": "/var/log/app/access.log", "formatter": "access", "delay": True},
        "plain": {"class": "logging.StreamHandler", "formatter": "plain"},
    },
    "root": {"level": "INFO", "handlers": ["plain"]},
    "loggers": {
        "gunicorn.error": {"level": "INFO", "handlers": ["plain"], "propagate": False},
        "gunicorn.access": {"level": "INFO", "handlers": ["access"], "propagate": False},
    },
}
accesslog = "/var/log/app/access.log"
