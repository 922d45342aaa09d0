variable "environment" {
  description = "The name of this environment, for example dev or prod; part of every resource's name."
  type        = string

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{0,11}$", var.environment)) && !endswith(var.environment, "-")
    error_message = "environment is 1 to 12 of a-z, 0-9 and -, begins with a letter and does not end with -."
  }
}

variable "region" {
  description = "The AWS region, for example eu-west-2."
  type        = string

  validation {
    condition     = can(regex("^[a-z]{2}(-[a-z]+)+-[0-9]$", var.region))
    error_message = "region is the name of an AWS region, like eu-west-2."
  }
}

variable "vpc_id" {
  description = "The VPC that the worker and the flow runs are in; both databases are reachable from it."
  type        = string

  validation {
    condition     = startswith(var.vpc_id, "vpc-")
    error_message = "vpc_id is the id of a VPC: vpc-…"
  }
}

variable "subnet_ids" {
  description = "Subnets of that VPC with outbound access (a NAT gateway or VPC endpoints), for production in two or more zones."
  type        = list(string)

  validation {
    condition     = length(var.subnet_ids) > 0 && alltrue([for id in var.subnet_ids : startswith(id, "subnet-")])
    error_message = "subnet_ids are the ids of one subnet or more: [\"subnet-…\"]"
  }
}

variable "assign_public_ip" {
  description = "Whether tasks get a public address, which they need in subnets that use an internet gateway."
  type        = bool
  default     = false
}

variable "egress_ports" {
  description = "TCP ports that tasks may reach: AWS and the Prefect API, and the databases. Inbound connections are not allowed."
  type        = set(number)
  default     = [443, 5432]

  validation {
    condition     = contains(var.egress_ports, 443) && alltrue([for port in var.egress_ports : port > 0 && port < 65536])
    error_message = "egress_ports are ports from 1 to 65535, 443 among them, which AWS needs."
  }
}

variable "prefect_api_url" {
  description = "The Prefect API, of Prefect Cloud's workspace or of a server: https://…/api…"
  type        = string

  validation {
    condition     = can(regex("^https?://[^/]+/api(/.+)?$", var.prefect_api_url))
    error_message = "prefect_api_url is the URL of a Prefect API, with its path /api."
  }
}

variable "prefect_api_auth" {
  description = "What the secret prefect-api contains: an API key (Prefect Cloud) or an auth string (your own server)."
  type        = string
  default     = "key"

  validation {
    condition     = contains(["key", "auth_string"], var.prefect_api_auth)
    error_message = "prefect_api_auth is key or auth_string."
  }
}

variable "work_pool" {
  description = "The Prefect work pool of type ecs that the worker serves, one for each environment."
  type        = string
  default     = "totesys-ecs"

  validation {
    condition     = can(regex("^[A-Za-z0-9_-]+$", var.work_pool))
    error_message = "work_pool consists of letters, digits, _ and -."
  }
}

variable "totesys_environment" {
  description = "TOTESYS_ENVIRONMENT of blocks and deployments, where several environments share a Prefect server; empty for none."
  type        = string
  default     = ""

  validation {
    condition     = can(regex("^([a-z0-9]+(-[a-z0-9]+)*)?$", var.totesys_environment))
    error_message = "totesys_environment consists of a-z, 0-9 and single - between them."
  }
}

variable "image_tag" {
  description = "The tag of the image in this registry that the worker runs. Without a tag no worker is created."
  type        = string
  default     = null
}

variable "alarm_email" {
  description = "The address that gets the alarms for failed and missing runs; it has to confirm the subscription."
  type        = string

  validation {
    condition     = can(regex("^[^@ ]+@[^@ ]+$", var.alarm_email))
    error_message = "alarm_email is an e-mail address."
  }
}

variable "minutes_without_success" {
  description = "After how many minutes without a successful run the alarm is raised."
  type        = number
  default     = 30

  validation {
    condition     = var.minutes_without_success >= 5 && var.minutes_without_success % 5 == 0
    error_message = "minutes_without_success is a multiple of 5."
  }
}

variable "log_retention_days" {
  description = "How long CloudWatch keeps the runs' and the worker's logs."
  type        = number
  default     = 365

  validation {
    condition     = contains([7, 14, 30, 60, 90, 180, 365, 400, 545, 731], var.log_retention_days)
    error_message = "log_retention_days is 7, 14, 30, 60, 90, 180, 365, 400, 545 or 731."
  }
}

variable "noncurrent_version_days" {
  description = "For how many days a deleted or overwritten object can be restored."
  type        = number
  default     = 90

  validation {
    condition     = var.noncurrent_version_days >= 1
    error_message = "noncurrent_version_days is at least 1."
  }
}

variable "processed_cheaper_after_days" {
  description = "After how many days processed objects move to cheaper storage."
  type        = number
  default     = 30

  validation {
    condition     = var.processed_cheaper_after_days >= 30
    error_message = "processed_cheaper_after_days is at least 30, which S3 requires."
  }
}

variable "results_expire_after_days" {
  description = "After how many days Prefect's cached results of tasks are deleted from the processed bucket."
  type        = number
  default     = 60

  validation {
    condition     = var.results_expire_after_days >= 30
    error_message = "results_expire_after_days is at least 30: results serve runs that finish a batch."
  }
}
