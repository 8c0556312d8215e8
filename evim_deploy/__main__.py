"""``python -m evim_deploy``, the same as ``evim-deploy``."""

from evim_deploy.cli.main import run

if __name__ == "__main__":
    run()
