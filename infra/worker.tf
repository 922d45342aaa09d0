# The two containers of the worker's task.
locals {
  # Common settings of both.
  container = {
    image                  = "${aws_ecr_repository.this.repository_url}:${coalesce(var.image_tag, "none-yet")}"
    readonlyRootFilesystem = true
    mountPoints            = [{ sourceVolume = "tmp", containerPath = "/tmp" }]
  }

  # The pipeline's settings; URLs are given by the names of their secrets.
  settings = { for name, value in {
    AWS_REGION            = var.region
    TOTESYS_ENVIRONMENT   = var.totesys_environment
    TOTESYS_SOURCE_URL    = aws_secretsmanager_secret.this["source-url"].name
    TOTESYS_WAREHOUSE_URL = aws_secretsmanager_secret.this["warehouse-url"].name
    TOTESYS_RAW_URI       = "s3://${aws_s3_bucket.this["raw"].id}/${local.prefix}"
    TOTESYS_PROCESSED_URI = "s3://${aws_s3_bucket.this["processed"].id}/${local.prefix}"
  } : name => value if value != "" }

  api = { name = "PREFECT_API_URL", value = var.prefect_api_url }
  api_secret = {
    name      = { key = "PREFECT_API_KEY", auth_string = "PREFECT_API_AUTH_STRING" }[var.prefect_api_auth]
    valueFrom = aws_secretsmanager_secret.this["prefect-api"].arn
  }

  # `make blocks` before each start of the worker: it saves databases and buckets as blocks.
  # It knows only the names of the secrets, which flow runs alone may read, so it tests nothing.
  blocks = merge(local.container, {
    name             = "blocks"
    essential        = false
    command          = ["python", "-m", "tasks.save_blocks", "--unchecked"]
    environment      = concat([local.api], [for name, value in local.settings : { name = name, value = value }])
    secrets          = [local.api_secret]
    logConfiguration = local.logs["blocks"]
  })

  worker = merge(local.container, {
    name             = "worker"
    essential        = true
    command          = ["prefect", "worker", "start", "--type", "ecs", "--pool", var.work_pool, "--with-healthcheck"]
    dependsOn        = [{ containerName = "blocks", condition = "SUCCESS" }]
    logConfiguration = local.logs["worker"]
    secrets          = [local.api_secret]

    environment = [
      local.api,
      { name = "PREFECT_INTEGRATIONS_AWS_ECS_OBSERVER_SQS_QUEUE_NAME", value = aws_sqs_queue.tasks.name },
    ]

    healthCheck = {
      command     = ["CMD", "python", "-c", "import urllib.request as r; r.urlopen('http://localhost:8080/health', timeout=5)"]
      interval    = 30
      timeout     = 10
      retries     = 3
      startPeriod = 60
    }
  })

  logs = {
    for stream in ["blocks", "worker"] : stream => {
      logDriver = "awslogs"
      options = {
        awslogs-group         = aws_cloudwatch_log_group.this.name
        awslogs-region        = var.region
        awslogs-stream-prefix = stream
      }
    }
  }
}
