locals {
  # Log lines of Prefect and tasks/report.py as CloudWatch filters; ? means "or".
  signs = {
    failed    = ["Finished in state Failed", "Finished in state Crashed", "Finished in state TimedOut"]
    succeeded = ["Loaded batch", "Up to date: the source held nothing new"]
  }
}

resource "aws_cloudwatch_log_metric_filter" "this" {
  for_each = local.signs

  name           = "${local.name}-${each.key}"
  log_group_name = aws_cloudwatch_log_group.this.name
  pattern        = join(" ", [for sign in each.value : "?\"${sign}\""])

  metric_transformation {
    namespace = local.name
    name      = each.key
    value     = "1"
  }
}

resource "aws_cloudwatch_metric_alarm" "failed" {
  alarm_name          = "${local.name}-run-failed"
  alarm_description   = "A flow run failed. The Prefect UI and the log group ${local.log_group} have the reason."
  namespace           = local.name
  metric_name         = "failed"
  statistic           = "Sum"
  period              = 300
  evaluation_periods  = 1
  comparison_operator = "GreaterThanThreshold"
  threshold           = 0
  treat_missing_data  = "notBreaching"
  alarm_actions       = [aws_sns_topic.alarms.arn]
  ok_actions          = [aws_sns_topic.alarms.arn]
}

# Also raised when nothing runs: no worker, schedule, image or Prefect API.
resource "aws_cloudwatch_metric_alarm" "silent" {
  alarm_name          = "${local.name}-no-successful-run"
  alarm_description   = "No flow run succeeded for ${var.minutes_without_success} minutes, so the warehouse is that old."
  namespace           = local.name
  metric_name         = "succeeded"
  statistic           = "Sum"
  period              = 300
  evaluation_periods  = var.minutes_without_success / 5
  comparison_operator = "LessThanThreshold"
  threshold           = 1
  treat_missing_data  = "breaching"
  alarm_actions       = [aws_sns_topic.alarms.arn]
  ok_actions          = [aws_sns_topic.alarms.arn]
}

resource "aws_sns_topic" "alarms" {
  name              = "${local.name}-alarms"
  kms_master_key_id = aws_kms_key.this.arn
}

resource "aws_sns_topic_policy" "alarms" {
  arn    = aws_sns_topic.alarms.arn
  policy = data.aws_iam_policy_document.alarms.json
}

data "aws_iam_policy_document" "alarms" {
  statement {
    sid       = "AlarmsOfThisAccount"
    actions   = ["sns:Publish"]
    resources = [aws_sns_topic.alarms.arn]

    principals {
      type        = "Service"
      identifiers = ["cloudwatch.amazonaws.com"]
    }

    condition {
      test     = "ArnLike"
      variable = "aws:SourceArn"
      values   = ["arn:${local.partition}:cloudwatch:${var.region}:${local.account_id}:alarm:${local.name}-*"]
    }
  }
}

resource "aws_sns_topic_subscription" "email" {
  topic_arn = aws_sns_topic.alarms.arn
  protocol  = "email"
  endpoint  = var.alarm_email
}
