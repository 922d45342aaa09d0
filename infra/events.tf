# What becomes of a flow run's task, told to the worker. Without it, a run whose task could not
# start would stay pending for ever, and keep all later ones away.
resource "aws_cloudwatch_event_rule" "tasks" {
  name        = "${local.name}-tasks"
  description = "State changes of the tasks in the cluster ${local.name}"

  event_pattern = jsonencode({
    source      = ["aws.ecs"]
    detail-type = ["ECS Task State Change"]
    detail      = { clusterArn = [aws_ecs_cluster.this.arn] }
  })
}

resource "aws_cloudwatch_event_target" "tasks" {
  rule = aws_cloudwatch_event_rule.tasks.name
  arn  = aws_sqs_queue.tasks.arn
}

# Encrypted by SQS itself: EventBridge would have to be let at our key. No second queue for messages that
# failed three times: as long as the Prefect API is away they all fail, and later they still count.
resource "aws_sqs_queue" "tasks" {
  name                       = "${local.name}-tasks"
  sqs_managed_sse_enabled    = true
  visibility_timeout_seconds = 300
  message_retention_seconds  = 86400
}

resource "aws_sqs_queue_policy" "tasks" {
  queue_url = aws_sqs_queue.tasks.url
  policy    = data.aws_iam_policy_document.queue.json
}

data "aws_iam_policy_document" "queue" {
  statement {
    sid       = "FromTheRule"
    actions   = ["sqs:SendMessage"]
    resources = [aws_sqs_queue.tasks.arn]

    principals {
      type        = "Service"
      identifiers = ["events.amazonaws.com"]
    }

    condition {
      test     = "ArnEquals"
      variable = "aws:SourceArn"
      values   = [aws_cloudwatch_event_rule.tasks.arn]
    }
  }

  statement {
    sid       = "OnlyTLS"
    effect    = "Deny"
    actions   = ["sqs:*"]
    resources = [aws_sqs_queue.tasks.arn]

    principals {
      type        = "*"
      identifiers = ["*"]
    }

    condition {
      test     = "Bool"
      variable = "aws:SecureTransport"
      values   = ["false"]
    }
  }
}
