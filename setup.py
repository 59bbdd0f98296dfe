"""The package's metadata. The exact versions that a set-up installs are in vagrant/constraints.txt."""

from setuptools import find_packages, setup

setup(
    name="foobar-testbed",
    version="0.1.0",
    description="www.foobar.com, a web infrastructure emulated with real daemons and packets",
    long_description=(
        "DNS, a load balancer that terminates TLS, three servers with web, application and database behind "
        "three firewalls, in one sealed box of network namespaces. Every claim about its security or "
        "availability is an experiment that produces evidence, a number and a verdict."
    ),
    author="The foobar testbed developers",
    license="MIT",
    keywords=[
        "network emulation",
        "mininet",
        "openflow",
        "security education",
        "chaos engineering",
        "haproxy",
        "mariadb",
    ],
    classifiers=[
        "Development Status :: 3 - Alpha",
        "Environment :: Console",
        "Intended Audience :: Education",
        "Intended Audience :: System Administrators",
        "License :: OSI Approved :: MIT License",
        "Operating System :: POSIX :: Linux",
        "Programming Language :: Python :: 3",
        "Programming Language :: Python :: 3.10",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Topic :: Education :: Testing",
        "Topic :: Security",
        "Topic :: System :: Emulators",
        "Topic :: System :: Networking",
        "Typing :: Typed",
    ],
    python_requires=">=3.10",
    # said aloud, an editable install is one line in a .pth file: quick to import, and mypy can follow it
    package_dir={"": "."},
    packages=find_packages(
        include=[
            f"{name}{part}"
            for name in ("topo", "controllers", "services", "testbed", "experiments", "benchmarks")
            for part in ("", ".*")
        ]
    ),
    package_data={
        "": ["py.typed", "*.j2", "*.sql", "*.html", "*.css", "*.js", "*.svg", "*.json", "*.c", "*.sh"],
        "services": ["templates/*"],
        "services.site": ["templates/*", "templates/**/*", "static/*", "static/**/*"],
    },
    install_requires=[
        "cramjam>=2.8",  # Snappy, in which metrics are pushed
        "cryptography>=42",
        "dnspython>=2.4",
        "eventlet>=0.36",
        "flask>=3.0",
        "flask-wtf>=1.2",
        "gunicorn>=22",
        "hpack>=4.0",
        "h11>=0.14",
        "httpx[http2]>=0.27",
        "jinja2>=3.1",
        "junitparser>=4.0",
        "matplotlib>=3.8",
        "mininet==2.3.0.dev6",  # the Python part; mnexec is the system package's
        "msgspec>=0.19",
        "numpy>=1.23",
        "pymysql>=1.1",
        "rich>=13",
        "ryu==4.34",
        "scapy>=2.5",
        "setuptools<67",  # Ryu builds with no newer one, and Mininet's distutils comes from it
    ],
    extras_require={
        "test": [
            "hypothesis>=6.100",
            "mypy>=1.10",
            "ovs>=3.1",  # Open vSwitch's own reader of flows, beside ours; Ryu brings it along
            "prometheus-client>=0.20",  # another reader of what the exporters write
            "pytest>=8",
            "pytest-xdist>=3.5",
            "ruff>=0.6",
        ],
    },
    zip_safe=False,
)
