variable "package_url" {
  description = "Where hosts fetch the Debian package of tagalong"
  type        = string

  validation {
    condition     = can(regex("^https://[A-Za-z0-9._~:/?@&=+%-]+$", var.package_url))
    error_message = "An https URL."
  }
}

variable "package_sha256" {
  description = "What `sha256sum` says of that package; no other is installed"
  type        = string

  validation {
    condition     = can(regex("^[0-9a-f]{64}$", var.package_sha256))
    error_message = "64 hexadecimal digits."
  }
}

variable "key_parameter" {
  description = "The parameter of Systems Manager (SecureString) with the TSIG key, as `tsig-keygen` writes it"
  type        = string
  default     = "/tagalong/tsig"

  validation {
    condition     = can(regex("^(/[A-Za-z0-9_.-]+)+$", var.key_parameter))
    error_message = "A name with a slash at its beginning, such as /tagalong/tsig."
  }
}

variable "name" {
  description = "What the names of what is made begin with"
  type        = string
  default     = "tagalong-demo"
}

variable "network" {
  description = "The first two numbers of every address"
  type        = string
  default     = "10.20"

  validation {
    condition     = can(regex("^[0-9]{1,3}\\.[0-9]{1,3}$", var.network))
    error_message = "Two numbers, such as 10.20."
  }
}

variable "domain" {
  description = "The domain of the hosts' names at the DNS servers"
  type        = string
  default     = "corp.internal"
}

variable "hosted_domain" {
  description = "The domain of the hosts' names in Route 53; not `domain`, nor below it"
  type        = string
  default     = "aws.internal"

  validation {
    condition     = !endswith(".${var.hosted_domain}", ".${var.domain}")
    error_message = "The DNS servers would answer for it: take another domain."
  }
}

variable "image" {
  description = "The public parameter of Systems Manager with the image of them all: Debian 12 or 13, amd64 or arm64"
  type        = string
  default     = "/aws/service/debian/release/12/latest/amd64"

  validation {
    condition     = can(regex("^[A-Za-z0-9_./-]+$", var.image))
    error_message = "The name of a parameter."
  }
}

variable "instance_type" {
  description = "The instance type of them all, of the image's architecture"
  type        = string
  default     = "t3.micro"
}
