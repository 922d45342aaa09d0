environment     = "dev"
region          = "eu-west-2"
vpc_id          = "vpc-0123456789abcdef0"
subnet_ids      = ["subnet-0123456789abcdef0", "subnet-0fedcba9876543210"]
prefect_api_url = "https://prefect.example.org/api"
alarm_email     = "data-team@example.org"
