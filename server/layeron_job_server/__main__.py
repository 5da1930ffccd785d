"""`python -m layeron_job_server` is `layeron-job`."""

from layeron_job_server.cli import main

if __name__ == "__main__":
    main()
