"""The servers of a workspace: Prefect's server and worker, MLflow's page, and the processes they are."""
