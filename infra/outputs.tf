output "dotenv" {
  description = "The pipeline's settings, as lines for .env."
  value       = join("\n", [for name, value in local.settings : "${name}=${value}"])
}

output "secrets" {
  description = "The secrets, by what they hold; they wait for their values."
  value       = { for name, secret in aws_secretsmanager_secret.this : name => secret.arn }
}

output "deployment" {
  description = "What infra/prefect.ecs.yaml reads by itself."
  value = {
    region             = var.region
    registry           = split("/", aws_ecr_repository.this.repository_url)[0]
    repository         = aws_ecr_repository.this.repository_url
    cluster            = aws_ecs_cluster.this.arn
    family             = local.family
    task_role_arn      = aws_iam_role.this["pipeline"].arn
    execution_role_arn = aws_iam_role.this["execution"].arn
    vpc_id             = var.vpc_id
    log_group          = aws_cloudwatch_log_group.this.name

    prefect_api_key_secret_arn         = var.prefect_api_auth == "key" ? local.api_secret.valueFrom : null
    prefect_api_auth_string_secret_arn = var.prefect_api_auth == "auth_string" ? local.api_secret.valueFrom : null

    network = {
      subnets        = var.subnet_ids
      securityGroups = [aws_security_group.tasks.id]
      assignPublicIp = var.assign_public_ip ? "ENABLED" : "DISABLED"
    }
  }
}
