# Created empty: set values with `aws secretsmanager put-secret-value`, so that no state file holds them.
resource "aws_secretsmanager_secret" "this" {
  for_each = {
    source-url    = "The source database: postgresql://…, or JSON as RDS writes it"
    warehouse-url = "The warehouse: postgresql://…, or JSON as RDS writes it"
    prefect-api   = "What the Prefect API asks for: an API key, or an auth string, user:password"
  }

  name                    = "${local.name}/${each.key}"
  description             = each.value
  kms_key_id              = aws_kms_key.this.arn
  recovery_window_in_days = 30
}
