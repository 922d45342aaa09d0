resource "aws_ecr_repository" "this" {
  name                 = local.name
  image_tag_mutability = "IMMUTABLE"

  image_scanning_configuration {
    scan_on_push = true
  }

  encryption_configuration {
    encryption_type = "KMS"
    kms_key         = aws_kms_key.this.arn
  }
}

# Every deployed commit has an image; the last ones are kept for rollbacks.
resource "aws_ecr_lifecycle_policy" "this" {
  repository = aws_ecr_repository.this.name

  policy = jsonencode({
    rules = [
      {
        rulePriority = 1
        description  = "layers that no tag names"
        action       = { type = "expire" }
        selection    = { tagStatus = "untagged", countType = "sinceImagePushed", countUnit = "days", countNumber = 7 }
      },
      {
        rulePriority = 2
        description  = "all but the last images"
        action       = { type = "expire" }
        selection    = { tagStatus = "any", countType = "imageCountMoreThan", countNumber = 50 }
      },
    ]
  })
}
